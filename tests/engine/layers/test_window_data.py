"""WindowData: windows of one small image, cropped, warped, padded and mirrored."""
import cv2
import numpy as np
import pytest
from layer_checker import Runner, refused

from caffe.engine import device
from caffe.io import array_to_blobproto

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
WINDOWS = "3 0.9 2 1 7 4\n5 0.75 0 0 5 3\n9 0.3 4 2 9 7\n7 0.5 0 0 1 1\n"


@pytest.fixture
def source(tmp_path):
    cv2.imwrite(str(tmp_path / "image.png"), IMAGE)
    path = tmp_path / "windows.txt"
    path.write_text(f"# 0\nimage.png\n3\n8\n12\n4\n{WINDOWS}")
    return path


def text(source, settings="", transform="crop_size: 4"):
    return (f"type: 'WindowData' window_data_param {{ source: '{source}' root_folder: '{source.parent}/' "
            f"bg_threshold: 0.4 fg_threshold: 0.6 {settings} }} transform_param {{ {transform} }}")


def warped(x1, y1, x2, y2, width=4, height=4):
    return cv2.resize(IMAGE[y1:y2 + 1, x1:x2 + 1], (width, height)).transpose(2, 0, 1).astype(np.float32)


def test_background_comes_first_and_windows_between_the_thresholds_are_unused(source):
    device.set_random_seed(0)
    runner, seen = Runner(text(source, "batch_size: 4 fg_fraction: 0.5"), [], num_tops=2), set()
    for _ in range(12):
        images, labels = runner.forward()
        assert labels[:2].tolist() == [0, 0] and set(labels[2:]) <= {3, 5}
        seen.update(labels)
        for image, label in zip(images, labels, strict=True):
            box = {0: (4, 2, 9, 7), 3: (2, 1, 7, 4), 5: (0, 0, 5, 3)}[int(label)]
            assert (image == warped(*box)).all()
    assert seen == {0, 3, 5}


def test_mean_scale_and_mirror(source):
    device.set_random_seed(0)
    transform = "crop_size: 4 mirror: true mean_value: 10 mean_value: 20 mean_value: 30"
    runner = Runner(text(source, "batch_size: 8 fg_fraction: 0 scale: 0.5", transform), [], num_tops=2)
    wanted = (warped(4, 2, 9, 7) - np.array([10, 20, 30])[:, None, None]) * 0.5
    found = runner.forward()[0]
    flipped = [(image == wanted[:, :, ::-1]).all() for image in found]
    assert all(flip or (image == wanted).all() for image, flip in zip(found, flipped, strict=True))
    assert 0 < sum(flipped) < 8


def test_context_extends_beyond_the_image(source):
    """Box (0, 0, 5, 3) with one pixel of context in a crop of 4 doubles in size: x -3..9, y -2..6."""
    source.write_text("# 0\nimage.png\n3\n8\n12\n1\n5 0.75 0 0 5 3\n")
    runner = Runner(text(source, "batch_size: 1 fg_fraction: 1 context_pad: 1"), [], num_tops=2)
    found = runner.forward()[0][0]
    left, above = round(3 * 4 / 13), round(2 * 4 / 9)
    assert (left, above) == (1, 1)
    assert not found[:, :above].any() and not found[:, :, :left].any()
    assert (found[:, above:, left:] == warped(0, 0, 9, 6, 3, 3)).all()


def test_square_windows(source):
    """Box (2, 1, 7, 4) is 6 x 4: the square of half size 3 around (5, 3) reaches from (2, 0) to (8, 6)."""
    source.write_text("# 0\nimage.png\n3\n8\n12\n1\n3 0.75 2 1 7 4\n")
    runner = Runner(text(source, "batch_size: 1 fg_fraction: 1 crop_mode: 'square'"), [], num_tops=2)
    assert (runner.forward()[0][0] == warped(2, 0, 8, 6)).all()


def test_mirroring_moves_the_padding_to_the_other_side(source):
    """Box (27, 5, 39, 17) of a 40 x 40 image is 13 x 13: from (27, 5) to (40, 18), one column beyond the image."""
    image = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    cv2.imwrite(str(source.parent / "image.png"), image)
    source.write_text("# 0\nimage.png\n3\n40\n40\n1\n5 0.75 27 5 39 17\n")
    device.set_random_seed(0)
    runner = Runner(text(source, "batch_size: 8 fg_fraction: 1 crop_mode: 'square'", "crop_size: 7 mirror: true"), [],
                    num_tops=2)
    part = image[5:19, 27:40]
    plain, flipped = np.zeros((2, 3, 7, 7), np.float32)
    plain[:] = cv2.resize(part, (7, 7)).transpose(2, 0, 1)      # 13 of 14 columns round to 7 of 7
    flipped[..., 1:] = cv2.resize(part, (6, 7)).transpose(2, 0, 1)[..., ::-1]       # after 1 of 14, rounded to 1 of 7
    found = [[(item == wanted).all() for wanted in (plain, flipped)] for item in runner.forward()[0]]
    assert all(any(which) for which in found) and {which.index(True) for which in found} == {0, 1}


def test_fractions_and_thresholds_are_single_precision(source):
    source.write_text("# 0\nimage.png\n3\n8\n12\n3\n5 0.6 0 0 5 3\n5 0.3 0 0 5 3\n5 0.1 0 0 5 3\n")
    settings = text(source, "batch_size: 10 fg_fraction: 0.7").replace("bg_threshold: 0.4", "bg_threshold: 0.3")
    runner = Runner(settings, [], num_tops=2)
    assert (len(runner.layer.foreground), len(runner.layer.background)) == (1, 1)
    assert runner.forward()[1].tolist() == [0] * 3 + [5] * 7


@pytest.mark.parametrize("shape, fits", [
    ((3, 8, 8), True), ((3, 6, 8), True), ((3, 5, 8), False), ((3, 8, 3), False), ((1, 8, 8), False)])
def test_the_crop_of_the_mean_has_the_size_of_the_top(source, shape, fits):
    """It begins (width - 4) / 2 pixels from the left and from the top, as in Caffe."""
    mean = np.random.default_rng(0).integers(0, 99, shape).astype(np.float32)
    path = source.parent / "mean.binaryproto"
    path.write_bytes(array_to_blobproto(mean[None]).SerializeToString())
    settings = text(source, "batch_size: 1 fg_fraction: 0", f"crop_size: 4 mean_file: '{path}'")
    if not fits:
        refused(settings, [], rf"mean_file has the shape \({shape[0]}, {shape[1]}, {shape[2]}\)", num_tops=2)
        return
    found = Runner(settings, [], num_tops=2).forward()[0][0]
    np.testing.assert_array_equal(found, warped(4, 2, 9, 7) - mean[:, 2:6, 2:6])


@pytest.mark.parametrize("settings, transform, match", [
    ("batch_size: 2", "", "crop_size"),
    ("", "crop_size: 4", "batch_size"),
    ("batch_size: 2 crop_mode: 'round'", "crop_size: 4", "crop_mode"),
    ("batch_size: 2 context_pad: 2", "crop_size: 4", "context_pad"),
    ("batch_size: 2", "crop_size: 4 mean_value: 1 mean_value: 2", "one mean_value, or one for each of 3"),
])
def test_bad_parameters(source, settings, transform, match):
    refused(text(source, settings, transform), [], match, num_tops=2)


@pytest.mark.parametrize("corners, settings", [
    ("0 0 12 7", ""), ("0 0 11 8", ""), ("-1 0 5 5", ""), ("3 -2 5 5", ""), ("20 0 30 5", "context_pad: 1"),
    ("0 0 3000 5", "context_pad: 1"), (f"0 0 {2**31 - 1} 5", "crop_mode: 'square'")])
def test_windows_that_do_not_fit_into_their_image(source, corners, settings):
    source.write_text(f"# 0\nimage.png\n3\n8\n12\n1\n5 0.75 {corners}\n")
    runner = Runner(text(source, f"batch_size: 1 fg_fraction: 1 {settings}"), [], num_tops=2)
    numbers = corners.replace(" ", ", ")
    with pytest.raises(ValueError, match=rf"windows.txt: the window \({numbers}\) of '.*image.png' does not fit"):
        runner.forward()


@pytest.mark.parametrize("content, match", [
    ("image.png", "expected `# index`"), ("# 0 image.png 3 8", "missing or wrong"),
    ("# 0 image.png 3 8 x 1", "missing or wrong"),
    ("# 0 image.png 1 8 12 0", "'.*image.png' has 1 channels, expected 3"),
    ("# 0 image.png 3 8 12 1 1 0.9 3 1 2 2", r"has the class 1 and the corners \(3, 1, 2, 2\)"),
    (f"# 0 image.png 3 8 12 1 1 0.9 1 1 {2**31} 2", r"the corners \(1, 1, 2147483648, 2\)"),
    (f"# 0 image.png 3 8 12 1 {2**31} 0.9 1 1 2 2", "has the class 2147483648"),
    ("# 0 image.png 3 8 12 1 0 0.9 1 1 2 2", "has the class 0")])
def test_bad_files(source, content, match):
    source.write_text(content)
    refused(text(source, "batch_size: 2"), [], match, num_tops=2)
    source.write_text("# 0 image.png 3 8 12 1 0 0.1 1 1 2 2")
    refused(text(source, "batch_size: 4"), [], "no foreground window, but each batch needs 1", num_tops=2)
    source.unlink()
    refused(text(source, "batch_size: 2"), [], "cannot read the window file", num_tops=2)
