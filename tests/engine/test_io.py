"""caffe.io: messages, Transformer, crops and image files."""
import json
import types
from pathlib import Path

import cv2
import numpy as np
import pytest

import caffe.io
from caffe.proto import caffe_pb2


@pytest.fixture
def recorded(pytestconfig):
    """One recorded case by name: its index entry and its arrays."""
    folder = Path(pytestconfig.getoption("--golden-engine"))
    entries = {entry["name"]: entry for entry in json.loads((folder / "index.json").read_text())}

    def load(name):
        if name not in entries:
            pytest.skip(f"{folder} has no case {name}")
        entry = entries[name]
        return folder, types.SimpleNamespace(**entry), np.load(folder / entry["npz"])

    return load


# ---------------------------------------------------------------------------------------------- messages
def test_blobproto_keeps_values_shape_and_gradient():
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    blob = caffe.io.array_to_blobproto(values, diff=-values)
    assert list(blob.shape.dim) == [2, 3, 4]
    np.testing.assert_array_equal(caffe.io.blobproto_to_array(blob), values)
    np.testing.assert_array_equal(caffe.io.blobproto_to_array(blob, return_diff=True), -values)


def test_blobproto_of_old_files_has_four_axes():
    blob = caffe_pb2.BlobProto(num=1, channels=2, height=3, width=1, data=range(6))
    assert caffe.io.blobproto_to_array(blob).shape == (1, 2, 3, 1)


def test_blobproto_of_float64_keeps_its_precision():
    blob = caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=[1]), double_data=[1 / 3])
    assert caffe.io.blobproto_to_array(blob)[0] == 1 / 3


def test_blobproto_of_a_scalar_has_no_axes():
    assert caffe.io.blobproto_to_array(caffe.io.array_to_blobproto(np.float32(7))).shape == ()


def test_blobproto_with_another_number_of_values_is_refused():
    blob = caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=[2, 2]), data=[1, 2, 3])
    with pytest.raises(ValueError, match=r"shape \(2, 2\) holds 3 values"):
        caffe.io.blobproto_to_array(blob)


def test_list_of_arrays_round_trip():
    arrays = [np.ones((2, 3), np.float32), np.zeros(5, np.float32)]
    again = caffe.io.blobprotovector_str_to_arraylist(caffe.io.arraylist_to_blobprotovector_str(arrays))
    for got, want in zip(again, arrays, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_datum_round_trip(dtype):
    values = np.arange(60).reshape(3, 4, 5).astype(dtype)
    datum = caffe_pb2.Datum.FromString(caffe.io.array_to_datum(values, label=9).SerializeToString())
    assert datum.label == 9 and bool(datum.data) == (dtype == np.uint8)
    np.testing.assert_array_equal(caffe.io.datum_to_array(datum), values)


def test_datum_refuses_other_axes_and_encoded_images():
    with pytest.raises(ValueError, match=r"\(4, 5\)"):
        caffe.io.array_to_datum(np.zeros((4, 5)))
    with pytest.raises(ValueError, match="image file"):
        caffe.io.datum_to_array(caffe_pb2.Datum(encoded=True, data=b"x"))


def test_recorded_mean_binaryproto(recorded):
    folder, entry, data = recorded("mean_binaryproto")
    blob = caffe_pb2.BlobProto.FromString((folder / entry.dir / entry.blob_file).read_bytes())
    np.testing.assert_allclose(caffe.io.blobproto_to_array(blob), data["array"], rtol=1e-4, atol=1e-5)


def test_recorded_datum_bytes(recorded):
    _, entry, data = recorded("datum_bytes")
    for i in range(entry.count):
        datum = caffe_pb2.Datum.FromString(data[f"bytes.{i}"].tobytes())
        assert datum.label == data["labels"][i] and datum.encoded == bool(data["encoded"][i])
        if not datum.encoded:
            np.testing.assert_array_equal(caffe.io.datum_to_array(datum), data[f"array.{i}"])


# ---------------------------------------------------------------------------------------------- Transformer
def transformer(spec, mean=None):
    result = caffe.io.Transformer({"data": spec["shape"]})
    for key in ("transpose", "channel_swap", "raw_scale", "input_scale"):
        if key in spec:
            getattr(result, f"set_{key}")("data", spec[key])
    if mean is not None:
        result.set_mean("data", mean)
    return result


def test_recorded_transformer(recorded):
    _, entry, data = recorded("io_transformer")
    for i, spec in enumerate(entry.specs):
        subject = transformer(spec, data[f"mean.{i}"] if f"mean.{i}" in data else None)
        values, image = subject.preprocess("data", data[f"im.{i}"]), subject.deprocess("data", data[f"pre.{i}"])
        np.testing.assert_allclose(values, data[f"pre.{i}"], rtol=1e-5, atol=1e-5)
        if f"post.{i}" in data:
            np.testing.assert_allclose(image, data[f"post.{i}"], rtol=1e-5, atol=1e-5)


SPEC = {"shape": (1, 3, 4, 5), "transpose": (2, 0, 1), "channel_swap": (2, 1, 0), "raw_scale": 255,
        "input_scale": 0.5}


def test_preprocess_does_not_change_the_image_nor_deprocess_the_blob():
    image = np.random.default_rng(0).random((4, 5, 3)).astype(np.float32)
    before = image.copy()
    subject = transformer(SPEC, np.array([10, 20, 30]))
    values = subject.preprocess("data", image)
    kept = values.copy()
    np.testing.assert_allclose(values[0], (before[:, :, 2] * 255 - 10) * 0.5, rtol=1e-5)
    np.testing.assert_allclose(subject.deprocess("data", values), before, atol=1e-5)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(values, kept)


@pytest.mark.parametrize("shape", [(1, 1, 4, 5), (1, 3, 1, 5), (1, 3, 1, 1)])
@pytest.mark.parametrize("leading", [slice(None), 0])
def test_deprocess_keeps_axes_of_length_1_that_the_transpose_takes(shape, leading):
    values = np.random.default_rng(0).random(shape)
    subject = transformer({"shape": shape, "transpose": (2, 0, 1)})
    np.testing.assert_array_equal(subject.deprocess("data", values[leading]), values[0].transpose(1, 2, 0))


def test_preprocess_resizes_images_and_means():
    spec = {"shape": (1, 3, 4, 6), "transpose": (2, 0, 1)}
    subject = transformer(spec, np.full((3, 8, 9), 0.25, np.float32))
    values = subject.preprocess("data", np.full((2, 3, 3), 1, np.uint8))
    np.testing.assert_allclose(values, np.full((3, 4, 6), 0.75))


@pytest.mark.parametrize("call, words", [
    (lambda t: t.preprocess("image", np.zeros((4, 5, 3))), "'image' is not one of the net's inputs: data"),
    (lambda t: t.preprocess("data", np.zeros((4, 5))), r"expected an array of 3 axes, got shape \(4, 5\)"),
    (lambda t: t.preprocess("data", np.zeros((8, 5))), r"expected an image .* got shape \(8, 5\)"),
    (lambda t: t.preprocess("data", np.zeros((4, 5, 1))), r"order \(2, 1, 0\): the image has 1 channels"),
    (lambda t: t.deprocess("data", np.zeros((2, 3, 4, 5))), r"expected an array of 3 axes, got shape \(2, 3, 4, 5\)"),
    (lambda t: t.deprocess("data", np.zeros((2, 3, 1, 1))), r"expected an array of 3 axes, got shape \(2, 3\)"),
    (lambda t: t.set_transpose("data", (0, 1)), "'data' takes 3 axes"),
    (lambda t: t.set_channel_swap("data", (1, 0)), "'data' has 3 channels"),
    (lambda t: t.set_mean("data", np.zeros(2)), "mean of 2 channels: 'data' has 3"),
    (lambda t: t.set_mean("data", np.zeros((2, 4, 5))), r"mean of shape \(2, 4, 5\)"),
])
def test_transformer_refuses_mismatched_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call(transformer(SPEC))


# ---------------------------------------------------------------------------------------------- images
def test_recorded_oversample(recorded):
    _, entry, data = recorded("io_oversample")
    got = caffe.io.oversample([data["im.0"], data["im.1"]], entry.crop)
    np.testing.assert_array_equal(got, data["crops"])


@pytest.mark.parametrize("shape, size", [((4, 5), (2, 2)), ((0, 5, 3), (2, 2)), ((4, 5, 3), (0, 2))])
def test_resize_image_takes_images_with_pixels(shape, size):
    with pytest.raises(ValueError, match=r"expected an image \(height, width, channels\) with pixels, got shape"):
        caffe.io.resize_image(np.zeros(shape), size)


def test_oversample_of_no_images():
    with pytest.raises(ValueError, match="there are no images"):
        caffe.io.oversample([], (2, 2))


@pytest.mark.parametrize("other", [(5, 6, 3), (7, 6, 3), (6, 6, 1)])
def test_oversample_of_images_of_several_sizes(other):
    with pytest.raises(ValueError, match=r"images of one size, found shapes \[.*\(6, 6, 3\)"):
        caffe.io.oversample([np.zeros((6, 6, 3)), np.zeros(other)], (4, 4))


def test_oversample_of_an_image_that_is_not_in_a_list():
    with pytest.raises(ValueError, match=r"expected a list of images .*, found the first of shape \(6, 3\)"):
        caffe.io.oversample(np.zeros((4, 6, 3)), (2, 2))


def test_an_image_that_opencv_could_not_read():
    with pytest.raises(ValueError, match="image is None, as cv2.imread returns"):
        caffe.io.Transformer({"data": (1, 3, 4, 4)}).preprocess("data", None)


def test_lists_are_arrays():
    assert caffe.io.Transformer({"data": (1, 3, 1, 2)}).preprocess("data", [[[1, 2, 3]] * 2]).shape == (1, 2, 3)
    assert list(caffe.io.array_to_datum([[[1, 2]]]).float_data) == [1, 2]


def test_oversample_refuses_crops_larger_than_the_image():
    with pytest.raises(ValueError, match="crops of 5x4 do not fit into images of 4x6"):
        caffe.io.oversample([np.zeros((4, 6, 3))], (5, 4))


@pytest.mark.parametrize("channels", [1, 3])
def test_resize_image_keeps_values(channels):
    ramp = np.linspace(-3, 7, 8, dtype=np.float32)[:, None, None] * np.ones((1, 5, channels), np.float32)
    got = caffe.io.resize_image(ramp, (4, 10))
    assert got.shape == (4, 10, channels) and got.dtype == np.float32
    np.testing.assert_allclose(got[:, 0, 0], (ramp[::2, 0, 0] + ramp[1::2, 0, 0]) / 2, rtol=1e-6)
    with pytest.raises(ValueError, match="interp_order 9"):
        caffe.io.resize_image(ramp, (4, 10), interp_order=9)


@pytest.mark.parametrize("channels", [2, 7])
def test_with_other_numbers_of_channels_corners_are_aligned(channels):
    """pycaffe resizes such images with scipy.ndimage.zoom: 8 rows become 4 at 0, 7/3, 14/3 and 7."""
    ramp = np.linspace(-3, 7, 8, dtype=np.float32)[:, None, None] * np.ones((1, 5, channels), np.float32)
    got = caffe.io.resize_image(ramp, (4, 10))
    assert got.shape == (4, 10, channels) and got.dtype == np.float32
    np.testing.assert_allclose(got[:, 3, 1], np.linspace(-3, 7, 4), rtol=1e-5)


def test_load_resize_is_loading_and_resizing(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    wanted = caffe.io.resize_image(caffe.io.load_image(tmp_path / "a.png"), (3, 5))
    np.testing.assert_array_equal(caffe.io.load_resize(tmp_path / "a.png", (3, 5)), wanted)
    assert caffe.io.load_resize(tmp_path / "a.png", (3, 5), color=False).shape == (3, 5, 1)


def test_load_image_is_rgb_between_0_and_1(tmp_path):
    bgr = np.random.default_rng(1).integers(0, 256, (4, 5, 3), np.uint8)
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), bgr)
    got = caffe.io.load_image(path)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, bgr[:, :, ::-1] / 255, rtol=1e-6)
    gray = caffe.io.load_image(path, color=False)
    np.testing.assert_allclose(gray[:, :, 0], got @ [0.2125, 0.7154, 0.0721], rtol=1e-5)


@pytest.mark.parametrize("dtype, peak", [(np.uint8, 255), (np.uint16, 65535)])
def test_load_image_of_a_gray_file(tmp_path, dtype, peak):
    gray = np.arange(20, dtype=dtype).reshape(4, 5) * dtype(11)
    path = tmp_path / "gray.png"
    cv2.imwrite(str(path), gray)
    np.testing.assert_allclose(caffe.io.load_image(path), np.repeat(gray[:, :, None] / peak, 3, 2), rtol=1e-6)
    assert caffe.io.load_image(path, color=False).shape == (4, 5, 1)


def test_load_image_drops_opacity(tmp_path):
    path = tmp_path / "clear.png"
    cv2.imwrite(str(path), np.dstack([np.full((3, 4), v, np.uint8) for v in (10, 20, 30, 40)]))
    np.testing.assert_allclose(caffe.io.load_image(path)[0, 0], np.array([30, 20, 10]) / 255, rtol=1e-6)


def test_load_image_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing.jpg"):
        caffe.io.load_image(tmp_path / "missing.jpg")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(ValueError, match="text.jpg"):
        caffe.io.load_image(tmp_path / "text.jpg")
