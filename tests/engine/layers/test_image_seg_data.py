"""ImageSegData: images and label images written by the tests."""
import struct
import zlib

import cv2
import numpy as np
import pytest
from layer_checker import Runner, refused

import caffe
from caffe.engine import device
from caffe.engine.layer import TEST, TRAIN

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)
LABELS = (np.arange(4)[:, None, None] * 50 + np.arange(48).reshape(6, 8)).astype(np.uint8)   # unique per pixel
PLANES = IMAGES.transpose(0, 3, 1, 2).astype(float)


@pytest.fixture
def source(tmp_path):
    for n in range(4):
        cv2.imwrite(str(tmp_path / f"{n}.png"), IMAGES[n])
        cv2.imwrite(str(tmp_path / f"{n}_labels.png"), LABELS[n])
    path = tmp_path / "list.txt"
    path.write_text("".join(f"/{n}.png  /{n}_labels.png\n" for n in range(4)))
    return path


def text(source, settings="label_type: PIXEL", transform=""):
    return (f"type: 'ImageSegData' image_data_param {{ source: '{source}' root_folder: '{source.parent}' {settings} }} "
            f"transform_param {{ {transform} }}")


def runner(source, settings="label_type: PIXEL", transform="", num_tops=3, phase=TEST):
    return Runner(text(source, settings, transform), [], num_tops, phase)


def test_label_images(source):
    layer = runner(source, "label_type: PIXEL batch_size: 3", "mean_value: 5 scale: 2")
    for batch in ([0, 1, 2], [3, 0, 1]):
        images, labels, sizes = layer.forward()
        np.testing.assert_array_equal(images, 2 * (PLANES[batch] - 5))
        np.testing.assert_array_equal(labels, LABELS[batch][:, None])
        np.testing.assert_array_equal(sizes, np.tile([6, 8], (3, 1, 1, 1)))
    assert len(runner(source, num_tops=2).forward()) == 2


def test_one_label_for_all_pixels_and_none(source):
    source.write_text("/1.png 7\n/2.png 0\n")
    layer = runner(source, "")
    assert [np.unique(layer.forward()[1]).tolist() for _ in range(3)] == [[7], [0], [7]]
    source.write_text("/1.png /x.png more\n/2.png\n")
    layer = runner(source, "label_type: NONE ignore_label: 9 batch_size: 2")
    images, labels, _ = layer.forward()
    np.testing.assert_array_equal(images, PLANES[[1, 2]])
    assert labels.shape == (2, 1, 6, 8) and (labels == 9).all()


def place(image, labels, n):
    """Where the crop of image n begins, as its labels reveal, and whether it is mirrored."""
    mirrored = labels[0, 0] > labels[0, -1]
    first = int(labels[0, -1 if mirrored else 0]) - 50 * n
    top, left = divmod(first, 8)
    height, width = labels.shape
    part = np.s_[top:top + height, left:left + width]
    turn = np.s_[..., ::-1 if mirrored else 1]
    np.testing.assert_array_equal(labels, LABELS[n][part][turn])
    np.testing.assert_array_equal(image, PLANES[n][:, part[0], part[1]][turn])
    return top, left, mirrored


def test_random_crops_and_mirrored_images_have_their_labels(source):
    device.set_random_seed(3)
    layer = runner(source, transform="crop_height: 3 crop_width: 5 mirror: true", phase=TRAIN)
    found = set()
    for n in [0, 1, 2, 3] * 15:
        images, labels, sizes = layer.forward()
        assert sizes.ravel().tolist() == [3, 5]
        found.add(place(images[0], labels[0, 0], n))
    assert {top for top, _, _ in found} == {0, 1, 2, 3} == {left for _, left, _ in found}
    assert {mirrored for _, _, mirrored in found} == {False, True}
    device.set_random_seed(3)
    again = runner(source, transform="crop_height: 3 crop_width: 5 mirror: true", phase=TRAIN)
    device.set_random_seed(3)
    other = runner(source, transform="crop_height: 3 crop_width: 5 mirror: true", phase=TRAIN)
    for _ in range(5):
        for one, two in zip(again.forward(), other.forward(), strict=True):
            np.testing.assert_array_equal(one, two)


def test_test_crops_the_centre(source):
    images, labels, _ = runner(source, transform="crop_size: 4").forward()
    assert place(images[0], labels[0, 0], 0) == (1, 2, False)


def test_small_images_are_padded(source):
    layer = runner(source, "label_type: PIXEL ignore_label: 200",
                   "crop_size: 8 mean_value: 1 mean_value: 2 mean_value: 3 scale: 0.5")
    images, labels, sizes = layer.forward()
    wanted = np.zeros((3, 8, 8))
    wanted[:, :6] = (PLANES[0] - np.array([1, 2, 3])[:, None, None]) / 2
    np.testing.assert_array_equal(images[0], wanted)
    np.testing.assert_array_equal(labels[0, 0], np.concatenate([LABELS[0], np.full((2, 8), 200)]))
    assert sizes.ravel().tolist() == [6, 8]


@pytest.mark.parametrize("factor", [0.5, 1.3])
def test_scale_factors(source, factor):
    images, labels, sizes = runner(source, transform=f"scale_factors: {factor}").forward()
    size = int(8 * np.float32(factor)), int(6 * np.float32(factor))
    np.testing.assert_array_equal(images[0], cv2.resize(IMAGES[0], size).transpose(2, 0, 1))
    np.testing.assert_array_equal(labels[0, 0], cv2.resize(LABELS[0], size, interpolation=cv2.INTER_NEAREST))
    assert sizes.ravel().tolist() == [min(6, size[1]), min(8, size[0])]


def test_one_of_the_scale_factors_is_drawn(source):
    device.set_random_seed(1)
    layer = runner(source, transform="scale_factors: 1 scale_factors: 2 scale_factors: 0.5", phase=TRAIN)
    assert {layer.forward()[1].shape[2:] for _ in range(20)} == {(6, 8), (12, 16), (3, 4)}


def test_new_size_and_grey(source):
    images, labels, _ = runner(source, "label_type: PIXEL new_height: 3 new_width: 5 is_color: false").forward()
    assert images.shape == (1, 1, 3, 5)
    np.testing.assert_array_equal(labels[0, 0], cv2.resize(LABELS[0], (5, 3), interpolation=cv2.INTER_NEAREST))


def test_shuffled_pairs_stay_together(source):
    device.set_random_seed(2)
    layer = runner(source, "label_type: PIXEL shuffle: true batch_size: 4")
    for _ in range(3):
        images, labels, _ = layer.forward()
        order = [int(value) // 50 for value in labels[:, 0, 0, 0]]
        assert sorted(order) == [0, 1, 2, 3]
        np.testing.assert_array_equal(images, PLANES[order])


def with_palette(data):
    """A greyscale PNG converted to one whose pixels are palette indices."""
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return data[:8] + chunk(b"IHDR", data[16:25] + b"\x03" + data[26:29]) + chunk(b"PLTE", bytes(768)) + data[33:]


@pytest.mark.parametrize("lines, settings, match", [
    ("/0.png\n", "label_type: PIXEL", "list.txt:1: expected two paths without blanks, `image labels`, found '/0.png'"),
    ("/0.png /0_labels.png 3\n", "label_type: PIXEL", "list.txt:1: expected two paths"),
    ("/0.png /0_labels.png\n", "", "list.txt:1: expected `path label`"),
    ("/0.png 256\n", "", "labels must be in 0..255, found 256 of '/0.png'"),
    ("/0.png /nowhere.png\n", "label_type: PIXEL", "list .*: cannot read the image '.*/nowhere.png'"),
    ("/0.png /small.png\n", "label_type: PIXEL", "'/0.png' has 6 x 8 pixels, its labels '/small.png' has 5 x 8 pixels"),
    ("/0.png /palette.png\n", "label_type: PIXEL", "'/palette.png' has a palette, whose colours would become labels"),
    ("\n", "label_type: NONE", "names no image"),
    ("/0.png\n", "label_type: NONE ignore_label: -1", "ignore_label must be in 0..255, found -1"),
    ("/0.png\n", "label_type: NONE new_height: 2", "both new_height")])
def test_bad_lists(source, lines, settings, match):
    cv2.imwrite(str(source.parent / "small.png"), LABELS[0][:5])
    (source.parent / "palette.png").write_bytes(with_palette((source.parent / "0_labels.png").read_bytes()))
    source.write_text(lines)
    refused(text(source, settings), [], match, num_tops=3)


@pytest.mark.parametrize("transform, match", [
    ("crop_height: 3", "both crop_height and crop_width, found 0, 3 and 0"),
    ("crop_size: 3 crop_height: 3 crop_width: 3", "give either crop_size"),
    ("mean_file: 'x'", "mean_file is not supported here"),
    ("scale_factors: 0", "scale_factors must be above 0, found 0"),
    ("scale_factors: 1e9", "cannot resize an image to"), ("mean_value: 1 mean_value: 2", "expected one mean_value")])
def test_bad_settings(source, transform, match):
    with pytest.raises(caffe.LayerError, match=f"layer 'tested' .*{match}"):
        runner(source, transform=transform).forward()


def test_other_layers_refuse_its_settings(source):
    source.write_text("/0.png 1\n")
    for settings in ("crop_width: 3", "crop_height: 3", "scale_factors: 2"):
        refused(text(source, "", settings).replace("ImageSegData", "ImageData"), [],
                "crop_width, crop_height and scale_factors are settings of ImageSegData", num_tops=2)


def test_labels_are_not_resized(source):
    resized = text(source, transform="resize_param { height: 4 width: 4 }")
    refused(resized, [], "set new_height and new_width", num_tops=2)
