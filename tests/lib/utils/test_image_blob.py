"""Preparing images for a net, and stacking them."""
import numpy as np
import pytest
from golden.detector_cases import generate as pytest_generate_tests  # noqa: F401
from golden.detector_cases import golden

from utils.blob import im_list_to_blob, im_scale_for, image_pyramid, prep_im_for_blob


@golden("prep_im", "contract")
def test_recorded_images(case):
    (check_image if "im" in case.inputs else check_sizes)(case)


def check_image(case):
    ins = case.inputs
    before = ins["im"].copy()
    im, scale = prep_im_for_blob(ins["im"], ins["pixel_means"], int(ins["target_size"]), int(ins["max_size"]))
    np.testing.assert_array_equal(ins["im"], before)
    case.check("im_scale", scale)
    assert im.dtype == np.float32
    if "im" in case.outputs:
        case.check("im", im)
    else:
        step = int(ins["stride"])
        case.check("im_shape", im.shape)
        case.check("im_sampled", im[::step, ::step])


def check_sizes(case):
    rows = zip(*(case.inputs[name] for name in ("height", "width", "target_size", "max_size")), strict=True)
    prepared = [prep_im_for_blob(np.zeros((height, width, 3), np.uint8), 0, target_size, max_size)
                for height, width, target_size, max_size in rows]
    case.check("out_height", [im.shape[0] for im, _ in prepared])
    case.check("out_width", [im.shape[1] for im, _ in prepared])
    case.check("im_scale", [scale for _, scale in prepared])


@golden("blob", "contract")
def test_recorded_blob(case):
    shapes = case.inputs["shapes"]
    pixels = np.split(case.inputs["pixels"], np.cumsum(shapes.prod(axis=1))[:-1])
    ims = [part.reshape(shape) for part, shape in zip(pixels, shapes, strict=True)]
    case.check("blob", im_list_to_blob(ims))


def test_scaling_agrees_with_bilinear_interpolation_pixel_by_pixel():
    im = np.random.default_rng(0).uniform(0, 255, (7, 11, 3)).astype(np.float32)
    got, scale = prep_im_for_blob(im, np.array([[[10.0, 20, 30]]]), 16, 99, np.array([[[1.0, 2, 4]]]))
    pixels = (im - [10, 20, 30]) / [1, 2, 4]
    for y, x in np.ndindex(*got.shape[:2]):
        sy, sx = np.clip((y + 0.5) / scale - 0.5, 0, 6), np.clip((x + 0.5) / scale - 0.5, 0, 10)
        top, left = min(int(sy), 5), min(int(sx), 9)
        fy, fx = sy - top, sx - left
        corners = pixels[top:top + 2, left:left + 2]
        want = np.einsum("y,x,yxc->c", [1 - fy, fy], [1 - fx, fx], corners)
        np.testing.assert_allclose(got[y, x], want, atol=0.01)


@pytest.mark.parametrize("size, want", [((300, 400), 2.0), ((300, 600), 1000 / 600), ((600, 1000), 1.0)])
def test_scale_by_shorter_or_longer_side(size, want):
    assert im_scale_for(*size, 600, 1000) == want


def test_pyramid_pads_the_smaller_levels():
    im = np.full((20, 30, 3), 100, np.uint8)
    blob, scales = image_pyramid(im, np.array([[[90.0, 80, 70]]]), (10, 40), 1000)
    assert blob.shape == (2, 3, 40, 60)
    np.testing.assert_array_equal(scales, [0.5, 2])
    np.testing.assert_allclose(blob[0, :, 9, 14], [10, 20, 30])
    assert not blob[0, :, 10:].any() and not blob[0, :, :, 15:].any()


def test_a_grey_image_is_refused():
    with pytest.raises(ValueError, match=r"shape \(height, width, 3\), found shape \(20, 30\)"):
        prep_im_for_blob(np.zeros((20, 30)), 0, 10, 20)


@pytest.mark.parametrize("image, message", [
    (None, "found None: cv2.imread returns it"), ([[1]], "array of numbers, found list"),
    (np.zeros((20, 30, 1), np.uint8), r"shape \(height, width, 3\), found shape \(20, 30, 1\)"),
    (np.zeros((20, 30, 2), np.uint8), r"found shape \(20, 30, 2\)"),
    (np.zeros((20, 30, 4)), r"found shape \(20, 30, 4\)"),
    (np.zeros((0, 30, 3)), r"found shape \(0, 30, 3\)"), (np.zeros((20, 30, 3), complex), "found complex128"),
    (np.full((20, 30, 3), 4095, np.uint16), r"values in 0..255, found uint16 up to 4095"),
    (np.zeros((2, 2001, 3), np.uint8), "no pixels are left of 2001 x 2 when scaled to at most 500")])
def test_input_that_is_not_an_image_is_described(image, message):
    with pytest.raises(ValueError, match=message):
        prep_im_for_blob(image, np.array([[[100.0, 110, 120]]]), 300, 500)


def test_images_of_other_number_types():
    im = np.random.default_rng(0).integers(0, 256, (20, 30, 3))
    want, _ = prep_im_for_blob(im.astype(np.uint8), 0, 10, 20)
    for kind in (np.int64, np.uint16, np.float32, np.float64):
        np.testing.assert_array_equal(prep_im_for_blob(im.astype(kind), 0, 10, 20)[0], want)
