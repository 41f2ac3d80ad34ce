"""Binary caffemodel files: all encodings of weights, errors, loading and saving."""
import logging
import struct

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import caffe
from caffe.engine import device
from caffe.engine.files import wire
from caffe.engine.files.blob_proto import blob_chunks, read_blob, stored_blob
from caffe.engine.files.caffemodel import copy_weights, read_weights, save_net
from caffe.engine.files.matching import WeightsError
from caffe.engine.files.wire import WireError, map_file, message, varint
from caffe.engine.net import Net
from caffe.proto import caffe_pb2, prototxt

NET = """
name: "small"
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 6 dim: 5 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_h: 2 kernel_w: 3 weight_filler { type: "xavier" } } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
        inner_product_param { num_output: 7 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "fc" top: "relu" }
layer { name: "sum" type: "Eltwise" bottom: "fc" bottom: "relu" top: "sum" }
"""
CONV, FC = (4, 3, 2, 3), (7, 60)


def make_net(text=NET, phase=1):
    return Net(prototxt.parse(text, caffe_pb2.NetParameter()), phase)


def write(path, net_param):
    path.write_bytes(net_param.SerializeToString())
    return path


def numbers(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 8 - 3


def stored(blob_bytes, tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(blob_bytes)
    return read_blob(map_file(path), 0, len(blob_bytes))


def shape_field(*dims):
    return caffe_pb2.BlobProto(shape={"dim": dims}).SerializeToString()


# ---- encodings
def test_packed(tmp_path):
    blob = stored(caffe_pb2.BlobProto(shape={"dim": [2, 3]}, data=range(6)).SerializeToString(), tmp_path)
    np.testing.assert_array_equal(blob.array, np.arange(6).reshape(2, 3))
    assert blob.values.dtype == np.float32 and not blob.values.flags.owndata


def test_packed_in_several_chunks(tmp_path):
    parts = [b"".join(message(5, [np.array(part, "<f4").tobytes()])) for part in ([1, 2], [3], [4, 5, 6])]
    blob = stored(parts[0] + shape_field(2, 3) + parts[1] + parts[2], tmp_path)
    np.testing.assert_array_equal(blob.array, [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize("tag, code", [(5 << 3 | 5, "<f"), (8 << 3 | 1, "<d")])
def test_unpacked_values_around_other_fields(tmp_path, tag, code):
    values = [bytes([tag]) + struct.pack(code, number) for number in range(6)]
    blob = stored(b"".join(values[:2]) + shape_field(2, 3) + b"".join(values[2:]), tmp_path)
    np.testing.assert_array_equal(blob.array, np.arange(6).reshape(2, 3))


def test_double(tmp_path):
    data = caffe_pb2.BlobProto(shape={"dim": [3]}, double_data=[1, 2, 1e300]).SerializeToString()
    blob = stored(data, tmp_path)
    assert blob.values.dtype == np.float64
    np.testing.assert_array_equal(blob.array, [1, 2, 1e300])


def test_legacy_shape_fits_without_its_leading_ones(tmp_path):
    legacy = caffe_pb2.BlobProto(num=1, channels=1, height=2, width=3, data=range(6))
    blob = stored(legacy.SerializeToString(), tmp_path)
    assert blob.shape == (1, 1, 2, 3)
    assert blob.fits((2, 3)) and blob.fits((1, 2, 3)) and blob.fits((1, 1, 2, 3))
    assert not blob.fits((3, 2)) and not blob.fits((6,)) and not blob.fits((1, 1, 1, 2, 3))


def test_shape_must_be_exact_where_it_is_not_legacy(tmp_path):
    blob = stored(caffe_pb2.BlobProto(shape={"dim": [1, 6]}, data=range(6)).SerializeToString(), tmp_path)
    assert blob.fits((1, 6)) and not blob.fits((6,))


def test_no_axes_and_no_values(tmp_path):
    assert stored(caffe_pb2.BlobProto(data=[5]).SerializeToString(), tmp_path).array.shape == ()
    assert stored(shape_field(0, 3), tmp_path).array.shape == (0, 3)


def test_unpacked_shape(tmp_path):
    dims = b"".join(message(7, [varint(1, 2), varint(1, 300)]))
    blob = stored(dims + b"".join(message(5, [bytes(2400)])), tmp_path)
    assert blob.shape == (2, 300)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=4), st.booleans(), st.integers(0, 2**31))
def test_writing_and_reading_agree(tmp_path_factory, shape, double, seed):
    array = np.random.RandomState(seed).normal(size=shape)
    values = torch.from_numpy(np.asarray(array, "f8" if double else "f4"))
    path = tmp_path_factory.mktemp("blob") / "blob"
    with open(path, "wb") as file:
        wire.write(file, wire.message(9, blob_chunks(values)))
    data = map_file(path)
    field = wire.next_field(data, 0, len(data))
    np.testing.assert_array_equal(read_blob(data, field.begin, field.end).array, values.numpy())
    parsed = caffe_pb2.BlobProto.FromString(data[field.begin:field.end])
    assert list(parsed.shape.dim) == shape
    np.testing.assert_array_equal(parsed.double_data if double else parsed.data, values.numpy().ravel())


def test_large_arrays_are_written_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(wire, "_PIECE", 64)
    values = torch.arange(1003, dtype=torch.float32)        # 62 pieces and a part of one
    with open(tmp_path / "blob", "wb") as file:
        wire.write(file, [b"before", values, b"after"])
    assert (tmp_path / "blob").read_bytes() == b"before" + values.numpy().tobytes() + b"after"


# ---- generations of files
def test_v1_and_v0_layers(tmp_path):
    v1 = caffe_pb2.NetParameter(layers=[{"name": "a", "blobs": [{"shape": {"dim": [2]}, "data": [1, 2]}]}])
    v0 = caffe_pb2.NetParameter(layers=[{"layer": {"name": "b", "blobs": [
        {"num": 1, "channels": 1, "height": 1, "width": 3, "data": [1, 2, 3]}]}}])
    (name, (array,)), = read_weights(write(tmp_path / "v1", v1))
    assert name == "a" and array.tolist() == [1, 2]
    (name, (array,)), = read_weights(write(tmp_path / "v0", v0))
    assert name == "b" and array.shape == (1, 1, 1, 3)


def test_real_files(shared_data):
    cifar = dict(read_weights(shared_data / "caffe/cifar10_quick/cifar10_quick_iter_4000.caffemodel"))
    assert [array.shape for array in cifar["conv2"]] == [(32, 32, 5, 5), (1, 1, 1, 32)]
    path = shared_data / "caffe/mtcnn/det1.caffemodel"
    parsed = caffe_pb2.NetParameter.FromString(path.read_bytes())
    for layer, (name, arrays) in zip(parsed.layer, read_weights(path), strict=True):
        assert layer.name == name
        for blob, array in zip(layer.blobs, arrays, strict=True):
            np.testing.assert_array_equal(np.array(blob.data, np.float32), array.ravel())


# ---- files that are refused
@pytest.mark.parametrize("content, reason", [
    (b"", "empty"), (b"\x89PNG\r\n\x1a\n....", "PNG image"), (b"\xff\xd8\xff\xe0", "JPEG"),
    (b"<!DOCTYPE html><html>", "HTML page"), (b'name: "net"\nlayer { }\n', "text"), (b"PK\x03\x04ab", "zip"),
    (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"), (b"\x0a\x01x", "no layer"),
    (b"\x08\x05", "no caffemodel"), (b"\xa2\x06\x10\x0a", "should have 16 bytes, there are 1"),
    (b"\x07\x01", "kind 7"),
])
def test_other_files_are_refused_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "w.caffemodel"
    path.write_bytes(content)
    with pytest.raises(WireError, match=f"w.caffemodel: .*{reason}"):
        read_weights(path)


def small_model():
    blobs = [{"shape": {"dim": [2, 3]}, "data": range(6)}]
    return caffe_pb2.NetParameter(name="n", layer=[{"name": "fc", "blobs": blobs}])


def raw_blob(values, kind):
    """A BlobProto of NVIDIA Caffe: its type in field 10, its bytes in field 12."""
    return shape_field(*values.shape) + varint(10, kind) + b"".join(message(12, [values.tobytes()]))


def raw_model(path, *blobs):
    layer = [b"\x0a\x02fc", *(part for blob in blobs for part in message(7, [blob]))]
    path.write_bytes(b"".join(message(100, layer)))
    return path


@pytest.mark.parametrize("kind, dtype", [(0, "<f8"), (1, "<f4"), (2, "<f2")])
def test_raw_values(tmp_path, caplog, kind, dtype):
    weights, bias = np.arange(20).reshape(5, 4).astype(dtype) / 8, np.arange(5).astype(dtype)
    path = raw_model(tmp_path / "raw.caffemodel", raw_blob(weights, kind), raw_blob(bias, kind))
    net = make_net("""layer { name: 'd' type: 'Input' top: 'd' input_param { shape { dim: 3 dim: 4 } } }
                    layer { name: 'fc' type: 'InnerProduct' bottom: 'd' top: 'o'
                            inner_product_param { num_output: 5 } }""")
    with caplog.at_level(logging.INFO, "caffe"):
        copy_weights(net, path)
    np.testing.assert_array_equal(net.params["fc"][0].data, weights.astype(np.float32))
    np.testing.assert_array_equal(net.params["fc"][1].data, bias.astype(np.float32))
    assert ("16-bit floats" in caplog.text) == (kind == 2)
    [(_, read)] = read_weights(path)
    assert [array.dtype for array in read] == [np.float64 if kind == 0 else np.float32] * 2
    parsed = caffe_pb2.NetParameter.FromString(path.read_bytes()).layer[0].blobs[0]
    np.testing.assert_array_equal(stored_blob(parsed).array, weights)
    np.testing.assert_array_equal(caffe.io.blobproto_to_array(parsed), weights)
    net.save(tmp_path / "own.caffemodel")               # raw values are not written
    assert not caffe_pb2.NetParameter.FromString((tmp_path / "own.caffemodel").read_bytes()).layer[1].blobs[0].raw_data


HALF = """input: 'd' input_shape { dim: 1 dim: 3 dim: 5 dim: 4 }
          layer { name: 'conv' type: 'Convolution' bottom: 'd' top: 'c'
                  convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: 'gaussian' std: 1 } } }
          layer { name: 'fc' type: 'InnerProduct' bottom: 'c' top: 'o'
                  inner_product_param { num_output: 7 weight_filler { type: 'gaussian' std: 1 } } }"""


def test_weights_in_half_precision(tmp_path):
    """Weights are rounded as by NumPy, and are read by us and as the message of NVIDIA's caffe.proto."""
    net = make_net(HALF)
    wanted = {name: [np.array(blob.data).astype(np.float16) for blob in blobs] for name, blobs in net.params.items()}
    path = tmp_path / "half.caffemodel"
    net.save(path, half=True)
    message = caffe_pb2.NetParameter.FromString(path.read_bytes())
    for layer in message.layer:
        for blob, values in zip(layer.blobs, wanted.get(layer.name, []), strict=True):
            assert (blob.raw_data_type, blob.raw_data, len(blob.data)) == (caffe_pb2.FLOAT16, values.tobytes(), 0)
            assert tuple(blob.shape.dim) == values.shape
    copy = make_net(HALF)
    copy.copy_from(path)
    for name, values in wanted.items():
        for blob, array in zip(copy.params[name], values, strict=True):
            np.testing.assert_array_equal(blob.data, array.astype(np.float32))


@pytest.mark.skipif(not hasattr(cv2.dnn, "readNetFromCaffe"), reason="OpenCV 5 reads no caffemodels")
def test_opencv_reads_weights_in_half_precision(tmp_path):
    net, path = make_net(HALF), tmp_path / "half.caffemodel"
    net.save(path, half=True)
    net.copy_from(path)
    image = np.random.default_rng(0).normal(size=(1, 3, 5, 4)).astype(np.float32)
    (tmp_path / "net.prototxt").write_text(HALF)
    other = cv2.dnn.readNetFromCaffe(str(tmp_path / "net.prototxt"), str(path))
    other.setInput(image)
    np.testing.assert_allclose(other.forward(), net.forward(d=image)["o"], rtol=1e-4, atol=1e-5)


def test_weights_that_are_too_large_for_half_precision(tmp_path):
    net, path = make_net(HALF), tmp_path / "half.caffemodel"
    net.params["fc"][0].data[0, 0] = -65520
    with pytest.raises(WeightsError, match="layer 'fc' has weights up to 65520: 16-bit floats end at 65504"):
        net.save(path, half=True)
    assert not list(tmp_path.iterdir())
    net.params["fc"][0].data[0, 0] = np.inf          # is infinite in 16 bits as well
    net.save(path, half=True)


@pytest.mark.parametrize("kind, count, words", [
    (3, 24, "raw values are of the type INT, no floats"), (9, 24, "raw values are of the type 9"),
    (1, 23, "23 bytes are no whole number of values"), (2, 24, r"shape \(6,\) needs 6 values, the file holds 12"),
])
def test_raw_values_that_are_refused(tmp_path, kind, count, words):
    blob = shape_field(6) + varint(10, kind) + b"".join(message(12, [bytes(count)]))
    path = raw_model(tmp_path / "raw.caffemodel", blob)
    with pytest.raises(WireError, match="raw.caffemodel: layer 'fc', blob 0: .*" + words):
        read_weights(path)


def test_every_truncation_is_refused(tmp_path):
    path, data = tmp_path / "cut.caffemodel", small_model().SerializeToString()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(WireError, match="cut.caffemodel"):
            read_weights(path)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 255))
def test_damaged_files_raise_no_other_error(tmp_path_factory, where, byte):
    data = bytearray(small_model().SerializeToString())
    data[where % len(data)] = byte
    path = tmp_path_factory.mktemp("damage") / "damaged"
    path.write_bytes(data)
    try:
        read_weights(path)
    except WireError:
        pass


def test_wrong_number_of_values_is_named(tmp_path):
    model = small_model()
    model.layer[0].blobs[0].data.append(1)
    with pytest.raises(WireError, match=r"layer 'fc', blob 0: shape \(2, 3\) needs 6 values, .* holds 7"):
        read_weights(write(tmp_path / "w", model))


# ---- loading into a net
def weights_of(net):
    return {name: [blob.data.copy() for blob in blobs] for name, blobs in net.params.items()}


def model_with(**layers):
    param = caffe_pb2.NetParameter()
    for name, arrays in layers.items():
        layer = param.layer.add(name=name)
        for array in arrays:
            layer.blobs.add(shape={"dim": array.shape}, data=array.ravel())
    return param


def test_layers_are_matched_by_name(tmp_path, caplog):
    net = make_net()
    before = weights_of(net)
    other = model_with(conv=[numbers(*CONV), numbers(4)], elsewhere=[numbers(2)])
    with caplog.at_level(logging.INFO, "caffe"):
        report = copy_weights(net, write(tmp_path / "w", other))
    assert report == (["elsewhere"], ["fc"])
    assert "not in the net: elsewhere" in caplog.text
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.message.endswith("(in a new net those of their fillers): fc")
    np.testing.assert_array_equal(net.params["conv"][0].data, numbers(*CONV))
    np.testing.assert_array_equal(net.params["conv"][1].data, numbers(4))
    np.testing.assert_array_equal(net.params["fc"][0].data, before["fc"][0])


def test_legacy_shapes_load(tmp_path):
    net, param = make_net(), caffe_pb2.NetParameter()
    layer = param.layers.add(name="fc")
    layer.blobs.add(num=1, channels=1, height=7, width=60, data=numbers(*FC).ravel())
    layer.blobs.add(num=1, channels=1, height=1, width=7, data=numbers(7))
    copy_weights(net, write(tmp_path / "w", param))
    np.testing.assert_array_equal(net.params["fc"][0].data, numbers(*FC))


@pytest.mark.parametrize("blobs, reason", [
    ([numbers(60, 7), numbers(7)], r"layer 'fc', blob 0: expected shape \(7, 60\) .* found \(60, 7\)"),
    ([numbers(*FC)], "layer 'fc' has 1 blobs in the file, 2 in the net"),
    ([], "0 blobs in the file"),
    ([numbers(*FC), numbers(7), numbers(1)], "3 blobs in the file"),
])
def test_mismatched_weights_change_nothing(tmp_path, blobs, reason):
    net = make_net()
    before = weights_of(net)
    with pytest.raises(WeightsError, match=reason):
        copy_weights(net, write(tmp_path / "w", model_with(conv=[numbers(*CONV), numbers(4)], fc=blobs)))
    for name, arrays in weights_of(net).items():
        np.testing.assert_array_equal(arrays[0], before[name][0])


def test_skipped_layers_keep_their_weights(tmp_path):
    net = make_net()
    before = weights_of(net)
    report = copy_weights(net, write(tmp_path / "w", model_with(fc=[numbers(3)])), skip_layers=["fc"])
    assert report.unfilled == ["conv"]
    np.testing.assert_array_equal(net.params["fc"][0].data, before["fc"][0])


def test_views_taken_before_see_the_loaded_weights(tmp_path):
    net = make_net()
    view = net.params["conv"][0].data
    copy_weights(net, write(tmp_path / "w", model_with(conv=[numbers(*CONV), numbers(4)])))
    np.testing.assert_array_equal(view, numbers(*CONV))


# ---- saving
def parse(path):
    return caffe_pb2.NetParameter.FromString(path.read_bytes())


def test_saved_net_has_all_layers_and_loads_again(tmp_path):
    net, other = make_net(), make_net()
    save_net(net, tmp_path / "w")
    param = parse(tmp_path / "w")
    assert param.name == "small"
    assert [layer.name for layer in param.layer] == ["in", "conv", "fc", "fc_fc_0_split", "relu", "sum"]
    assert {layer.phase for layer in param.layer} == {1}
    assert param.layer[1].convolution_param.num_output == 4
    assert [list(blob.shape.dim) for blob in param.layer[1].blobs] == [list(CONV), [4]]
    assert copy_weights(other, tmp_path / "w") == ([], [])
    for name, arrays in weights_of(net).items():
        np.testing.assert_array_equal(arrays[0], other.params[name][0].data)


def test_gradients_and_skipped_layers(tmp_path):
    net = make_net()
    net.params["conv"][1].diff[...] = [1, 2, 3, 4]
    save_net(net, tmp_path / "w", write_diff=True, skip_layers=["fc"])
    layers = {layer.name: layer for layer in parse(tmp_path / "w").layer}
    assert "fc" not in layers
    assert list(layers["conv"].blobs[1].diff) == [1, 2, 3, 4]
    assert list(layers["conv"].blobs[0].diff) == [0] * 72


@pytest.mark.parametrize("double", [False, True])
def test_gradients_in_the_file_are_loaded(tmp_path, double):
    written = caffe_pb2.NetParameter()
    layer = written.layer.add(name="conv")
    for index, shape in enumerate((CONV, (4,))):
        blob, count = layer.blobs.add(shape={"dim": shape}), int(np.prod(shape))
        (blob.double_data if double else blob.data).extend(numbers(*shape).ravel())
        if index:
            (blob.double_diff if double else blob.diff).extend(range(count))
    net = make_net()
    copy_weights(net, write(tmp_path / "w", written))
    weight, bias = net.params["conv"]
    np.testing.assert_array_equal(weight.data, numbers(*CONV))
    np.testing.assert_array_equal(bias.diff, [0, 1, 2, 3])
    assert not weight.has_grad
    copy_weights(net, write(tmp_path / "w", caffe_pb2.NetParameter(layer=[{"name": "fc", "blobs": [
        {"shape": {"dim": shape}, "data": numbers(*shape).ravel()} for shape in (FC, (7,))]}])))
    np.testing.assert_array_equal(bias.diff, [0, 1, 2, 3])


def test_a_gradient_of_another_size_is_refused(tmp_path):
    with pytest.raises(WireError, match="2 values have a gradient of 3"):
        stored(caffe_pb2.BlobProto(shape={"dim": [2]}, data=[1, 2], diff=[1, 2, 3]).SerializeToString(), tmp_path)


def test_shared_weights_are_written_by_each_layer(tmp_path):
    net = make_net("""
        layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" param { name: "w" }
                inner_product_param { num_output: 3 bias_term: false } }
        layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" }
                inner_product_param { num_output: 3 bias_term: false } }""")
    net.params["a"][0].data[...] = numbers(3, 3)
    save_net(net, tmp_path / "w")
    stored_layers = dict(read_weights(tmp_path / "w"))
    np.testing.assert_array_equal(stored_layers["a"][0], numbers(3, 3))
    np.testing.assert_array_equal(stored_layers["b"][0], numbers(3, 3))


READONLY = """
    layer { name: "in" type: "Input" top: "x" top: "label" input_param { shape { dim: 2 dim: 3 } shape { dim: 2 } } }
    layer { name: "fc_readonly" type: "InnerProduct" bottom: "x" top: "judged" propagate_down: false
            param { name: "w" } inner_product_param { num_output: 4 bias_term: false } }
    layer { name: "quiet" type: "Silence" bottom: "judged" }
    layer { name: "frozen" type: "InnerProduct" bottom: "x" top: "y" param { lr_mult: 0 }
            inner_product_param { num_output: 5 bias_term: false } }
    layer { name: "fc" type: "InnerProduct" bottom: "x" top: "score" param { name: "w" lr_mult: 1 }
            inner_product_param { num_output: 4 bias_term: false } }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }"""


def test_saved_models_omit_heads_that_only_copy_a_trained_one(tmp_path):
    net, other = make_net(READONLY, phase=0), make_net(READONLY, phase=0)
    net.params["fc"][0].data[...] = numbers(4, 3)
    net.save_trained(tmp_path / "w")
    assert [name for name, blobs in read_weights(tmp_path / "w") if blobs] == ["frozen", "fc"]
    assert copy_weights(other, tmp_path / "w") == ([], [])      # the copy is filled by the layer that it copies
    np.testing.assert_array_equal(other.params["fc_readonly"][0].data, numbers(4, 3))


def test_double_nets_are_saved_in_double(tmp_path):
    with device.use_float_type(torch.float64):
        net = make_net()
        net.params["conv"][1].data[...] = 1 / 3
        save_net(net, tmp_path / "w")
        copy_weights(net, tmp_path / "w")
    array = dict(read_weights(tmp_path / "w"))["conv"][1]
    assert array.dtype == np.float64 and array[0] == 1 / 3


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        save_net(make_net(), tmp_path / "nowhere" / "w")


def test_missing_weights_file_is_named():
    with pytest.raises(FileNotFoundError, match="none.caffemodel"):
        copy_weights(make_net(), "none.caffemodel")
