"""caffe.io.resize, zoom and skimage: names of other packages that scripts take from pycaffe."""
import sys

import cv2
import numpy as np
import pytest

import caffe
from caffe import without_skimage


@pytest.fixture(autouse=True)
def no_skimage(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setitem(sys.modules, "skimage.io", None)


def bilinear(image, height, width):
    """Bilinear resizing with pixels as squares: the images' outer edges are aligned, and borders are replicated."""
    rows, columns = image.shape[:2]
    result = np.zeros((height, width, *image.shape[2:]))
    for y, x in np.ndindex(height, width):
        row = np.clip((y + 0.5) * rows / height - 0.5, 0, rows - 1)
        column = np.clip((x + 0.5) * columns / width - 0.5, 0, columns - 1)
        top, left = int(row), int(column)
        down, right = row - top, column - left
        for dy, dx in np.ndindex(2, 2):
            weight = (down if dy else 1 - down) * (right if dx else 1 - right)
            if weight:
                result[y, x] += weight * image[top + dy, left + dx]
    return result


@pytest.mark.parametrize("shape, wanted", [((6, 8, 3), (4, 10, 3)), ((6, 8, 3), (9, 5)), ((6, 8), (3, 4)),
                                           ((5, 7, 6), (10, 3, 6)), ((5, 7, 1), (3, 9, 1))])
def test_resize(shape, wanted):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    got = caffe.io.resize(image, wanted)
    assert got.shape == (*wanted[:2], *shape[2:]) and got.dtype == np.float64
    np.testing.assert_allclose(got, bilinear(image / 255, *wanted[:2]), atol=1e-5)
    kept = caffe.io.resize(image, wanted, preserve_range=True)
    np.testing.assert_allclose(kept, bilinear(image, *wanted[:2]), atol=1e-2)


def test_resize_refuses_what_it_cannot_do():
    image = np.zeros((6, 8, 3))
    with pytest.raises(ValueError, match="pip install scikit-image"):
        caffe.io.resize(image, (4, 4, 1))
    with pytest.raises(TypeError, match="anti_aliasing"):
        caffe.io.resize(image, (4, 4), anti_aliasing=True)


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 3), (6, 8, 4)])
def test_imread(tmp_path, shape):
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    wanted = image if image.ndim == 2 else image[:, :, [2, 1, 0, 3][:shape[2]]]
    found = caffe.io.skimage.io.imread(tmp_path / "a.png")
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(caffe.io.skimage.img_as_float(found), wanted / 255)
    grey = caffe.io.skimage.io.imread(str(tmp_path / "a.png"), as_gray=True)
    np.testing.assert_allclose(grey, caffe.io.load_image(tmp_path / "a.png", color=False)[:, :, 0])
    with pytest.raises(FileNotFoundError, match="no such image"):
        caffe.io.skimage.io.imread(tmp_path / "b.png")


def test_zoom_is_scipys():
    from scipy.ndimage import zoom
    assert caffe.io.zoom is zoom


def test_other_names():
    assert caffe.io.skimage is without_skimage and caffe.io.skimage.transform.resize is caffe.io.resize
    with pytest.raises(AttributeError, match="no 'color' without the package scikit-image"):
        _ = caffe.io.skimage.color
    with pytest.raises(AttributeError, match="no attribute 'rezise'"):
        _ = caffe.io.rezise


def test_with_scikit_image_the_names_are_its_own(monkeypatch):
    import types
    package, transform = types.ModuleType("skimage"), types.ModuleType("skimage.transform")
    transform.resize = lambda image, shape: "its own"
    for name, module in (("skimage", package), ("skimage.io", types.ModuleType("skimage.io")),
                         ("skimage.transform", transform)):
        monkeypatch.setitem(sys.modules, name, module)
    assert caffe.io.skimage is package and caffe.io.resize(None, None) == "its own"
