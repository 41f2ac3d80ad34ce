"""Classifier and Detector against the same steps done by hand, on small nets and real ones."""
import re
import sys
import types

import cv2
import numpy as np
import pytest

import caffe
import caffe.io

# Its outputs are the means of the input's three channels, so predictions can be computed by hand.
NET = """
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 6 dim: 8 } } }
layer { name: "mean" type: "Reduction" bottom: "data" top: "mean" reduction_param { operation: MEAN axis: 2 } }
"""
SQUARE = NET.replace("dim: 8", "dim: 6")


@pytest.fixture
def files(tmp_path):
    for name, text in (("net", NET), ("square", SQUARE)):
        (tmp_path / f"{name}.prototxt").write_text(text)
        caffe.Net(str(tmp_path / f"{name}.prototxt"), caffe.TEST).save(str(tmp_path / f"{name}.caffemodel"))
    return {name: (str(tmp_path / f"{name}.prototxt"), str(tmp_path / f"{name}.caffemodel"))
            for name in ("net", "square")}


def image(height, width, seed=0):
    return np.random.default_rng(seed).random((height, width, 3), np.float32)


# ---------------------------------------------------------------------------------------------- Classifier
def test_centre_crop_of_resized_images(files):
    net = caffe.Classifier(*files["net"], image_dims=(10, 13))
    images = [image(10, 13), image(20, 31, seed=1)]
    resized = [caffe.io.resize_image(item, (10, 13)) for item in images]
    expected = [item[2:8, 2:10].mean((0, 1)) for item in resized]
    np.testing.assert_allclose(net.predict(images, oversample=False), expected, rtol=1e-5)


def test_oversampling_averages_ten_crops(files):
    net = caffe.Classifier(*files["net"], image_dims=(9, 12))
    images = [image(9, 12, seed) for seed in range(3)]
    crops = caffe.io.oversample(images, (6, 8))
    expected = crops.mean((1, 2)).reshape(3, 10, 3).mean(1)
    np.testing.assert_allclose(net.predict(images), expected, rtol=1e-5)


def test_preprocessing_steps(files):
    mean = np.array([1.0, 20.0, 300.0])
    net = caffe.Classifier(*files["net"], mean=mean, input_scale=0.5, raw_scale=255, channel_swap=(2, 1, 0))
    picture = image(6, 8)
    expected = (picture.mean((0, 1))[::-1] * 255 - mean) * 0.5
    np.testing.assert_allclose(net.predict([picture], oversample=False)[0], expected, rtol=1e-5)
    assert net.transformer.inputs == {"data": (4, 3, 6, 8)}


@pytest.mark.parametrize("layer, found", [
    ("type: 'DummyData' dummy_data_param { shape { dim: 1 } }", "found no input"),
    ("type: 'Input' input_param { shape { dim: 2 dim: 3 } }", r"found shape \(2, 3\)")])
@pytest.mark.parametrize("kind", [caffe.Classifier, caffe.Detector])
def test_a_net_without_an_input_of_images_is_refused(tmp_path, kind, layer, found):
    (tmp_path / "net.prototxt").write_text(f"layer {{ name: 'in' top: 'data' {layer} }}")
    paths = str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel")
    caffe.Net(paths[0], caffe.TEST).save(paths[1])
    with pytest.raises(ValueError, match=found):
        kind(*paths)


def test_image_dims_below_the_input_are_refused(files):
    with pytest.raises(ValueError, match="smaller than the net's input"):
        caffe.Classifier(*files["net"], image_dims=(5, 20))


def test_real_classifier(shared_data):
    """cifar10_quick and its mean-free deploy net: ten crops of one size are one image and its mirror."""
    folder = shared_data / "caffe" / "cifar10_quick"
    net = caffe.Classifier(str(folder / "cifar10_quick.prototxt"),
                           str(folder / "cifar10_quick_iter_5000.caffemodel"), raw_scale=255, channel_swap=(2, 1, 0))
    picture = image(32, 32)
    many, single = net.predict([picture, picture[:, ::-1]]), net.predict([picture, picture[:, ::-1]], oversample=False)
    assert many.shape == (2, 10)
    np.testing.assert_allclose(many, np.tile(single.mean(0), (2, 1)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(single.sum(1), 1, rtol=1e-5)


# ---------------------------------------------------------------------------------------------- Detector
@pytest.fixture
def photo(tmp_path):
    pixels = (image(40, 50) * 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), pixels)
    return str(tmp_path / "photo.png"), caffe.io.load_image(str(tmp_path / "photo.png"))


def test_windows_without_context(files, photo):
    name, pixels = photo
    net = caffe.Detector(*files["net"])
    windows = [(0, 0, 6, 8), (10, 20, 16, 28), (5, 6, 35, 46), (33, 40, 39, 48), (1, 2, 7, 10)]
    found = net.detect_windows([(name, windows[:2]), (name, windows[2:])])
    assert [entry["window"] for entry in found] == windows and found[0]["filename"] == name
    for entry in found:
        y1, x1, y2, x2 = entry["window"]
        expected = caffe.io.resize_image(pixels[y1:y2, x1:x2], (6, 8)).mean((0, 1))
        np.testing.assert_allclose(entry["prediction"], expected, rtol=1e-5)
    assert net.detect_windows([(name, [])]) == []


def test_context_inside_the_image(files, photo):
    """Input of 6 with 1 pixel of context: a window of 8 grows to 12, so 2 more on each side."""
    net = caffe.Detector(*files["square"], context_pad=1)
    crop = net.crop(photo[1], np.array([10, 20, 17, 27]))
    # rounded box of centre (14, 24) and half width 6: 8..20 and 18..30, without the last row, as in R-CNN
    np.testing.assert_allclose(crop, caffe.io.resize_image(photo[1][8:20, 18:30], (6, 6)), rtol=1e-6)


def test_context_outside_the_image_is_the_mean(files, photo):
    mean = np.array([10.0, 20.0, 30.0])
    net = caffe.Detector(*files["square"], mean=mean, raw_scale=255, channel_swap=(2, 1, 0), context_pad=1)
    crop = net.crop(photo[1], np.array([0, 0, 7, 7]))
    assert crop.shape == (6, 6, 3)
    np.testing.assert_allclose(crop[0], np.tile(mean[::-1] / 255, (6, 1)), rtol=1e-6)     # RGB, 0 to 1
    assert not np.allclose(crop[1:, 1:], mean[::-1] / 255)
    steps = net.transformer.preprocess("data", crop)
    np.testing.assert_allclose(steps[:, 0, 0], 0, atol=1e-5)


def test_context_needs_room(files):
    with pytest.raises(ValueError, match="square input"):
        caffe.Detector(*files["net"], context_pad=1)
    with pytest.raises(ValueError, match="context_pad 3"):
        caffe.Detector(*files["square"], context_pad=3)


def test_windows_outside_are_reported(files, photo):
    net = caffe.Detector(*files["square"], context_pad=1)
    with pytest.raises(ValueError, match=r"\(100, 100, 110, 110\) lies outside"):
        net.crop(photo[1], (100, 100, 110, 110))
    net = caffe.Detector(*files["net"])
    for window in [(100, 100, 110, 110), (-2, -2, 6, 6), (5, 3, 5, 9)]:
        with pytest.raises(ValueError, match=f"{re.escape(str(window))} lies outside"):
            net.crop(photo[1], window)


def test_selective_search_is_used_if_available(files, photo, monkeypatch):
    net = caffe.Detector(*files["net"])
    with pytest.raises(ImportError, match="detect_windows"):
        net.detect_selective_search([photo[0]])
    module = types.ModuleType("selective_search_ijcv_with_python")
    module.get_windows = lambda names, cmd: [[(1, 2, 9, 12)] for _ in names]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    (found,) = net.detect_selective_search([photo[0]])
    assert found["window"] == (1, 2, 9, 12)
