"""caffe.to_onnx with other input shapes, free axes, an opset, Python layers, and operations around the net."""
import sys

import numpy as np
import pytest
from layer_examples import EXAMPLES, net_of, values_of

import caffe
from caffe.commands import main
from caffe.export import ExportError
from caffe.proto import caffe_pb2
from caffe.proto.prototxt import parse

onnx = pytest.importorskip("onnx", reason="needs the package onnx")
pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
from onnx_runs import run  # noqa: E402  (it needs both packages)

ANY_SIZE = {"x": ("batch", 3, "height", "width")}
NET = """
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 13 dim: 17 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 4 kernel_size: 3 pad: 1
  stride: 2 weight_filler { type: "gaussian" std: 0.3 } } }
layer { name: "max" type: "Pooling" bottom: "c" top: "max" pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "ave" type: "Pooling" bottom: "c" top: "ave" pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "apart" type: "Reshape" bottom: "max" top: "apart"
  reshape_param { shape { dim: 0 dim: 2 dim: -1 dim: 0 } } }
layer { name: "soft" type: "Softmax" bottom: "apart" top: "soft" }
layer { name: "all" type: "Pooling" bottom: "ave" top: "all" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "all" top: "fc" inner_product_param { num_output: 5
  weight_filler { type: "gaussian" std: 0.3 } } }
"""


def parsed(text):
    return caffe.Net(parse(text, caffe_pb2.NetParameter()), caffe.TEST)


def compare_at(net, path, shape):
    """Compare the model with the net for random inputs of another shape."""
    net.blobs["x"].reshape(*shape)
    net.blobs["x"].data[...] = np.random.default_rng(1).standard_normal(shape)
    net.reshape()
    found = run(path, {"x": net.blobs["x"].data.copy()})
    for name, want in net.forward().items():
        assert found[name].shape == want.shape
        np.testing.assert_allclose(found[name], want, rtol=1e-5, atol=1e-5, err_msg=name)


def test_one_model_for_all_sizes(tmp_path):
    net = parsed(NET)
    net.blobs["x"].data[...] = 3
    caffe.to_onnx(net, tmp_path / "net.onnx", ANY_SIZE)
    assert net.blobs["x"].shape == (2, 3, 13, 17) and net.blobs["c"].shape == (2, 4, 7, 9)
    np.testing.assert_array_equal(net.blobs["x"].data, 3)
    onnx.checker.check_model(str(tmp_path / "net.onnx"), full_check=True)
    for shape in ((2, 3, 13, 17), (1, 3, 14, 16), (3, 3, 31, 20), (1, 3, 64, 65), (1, 3, 7, 8)):
        compare_at(net, tmp_path / "net.onnx", shape)
    graph = onnx.load(str(tmp_path / "net.onnx")).graph
    dims = {value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in (*graph.input, *graph.output)}
    assert dims == {"x": ["batch", 3, "height", "width"], "fc": ["batch", 5],
                    "soft": ["batch", 2, "soft axis 2", "soft axis 3"]}


@pytest.mark.parametrize("name", ["max_pool_even", "max_pool_outside", "max_pool_floor", "ave_pool", "ave_pool_padded",
                                  "pool_ceil_mode", "stochastic_pool", "lrn_within", "deconv", "batch_norm"])
def test_layers_over_images_of_any_size(name, tmp_path):
    net = net_of(EXAMPLES[name])
    _, channels, height, width = net.blobs["x0"].shape
    caffe.to_onnx(net, tmp_path / "net.onnx", {"x0": ("n", channels, "h", "w")})
    for more in range(5):
        shape = 1 + more, channels, height + more, width + 7 - more
        net.blobs["x0"].reshape(*shape)
        net.blobs["x0"].data[...] = np.random.default_rng(more).random(shape)
        net.reshape()
        found = run(tmp_path / "net.onnx", {"x0": net.blobs["x0"].data.copy()})
        for key, want in net.forward().items():
            np.testing.assert_allclose(found[key], want, rtol=1e-5, atol=1e-5)


def test_regions_of_images_of_any_size(tmp_path):
    net = net_of(EXAMPLES["psroi_pooling"])
    caffe.to_onnx(net, tmp_path / "net.onnx", {"x0": ("n", 18, "h", "w"), "x1": ("r", 5)})
    for shape, rois in (((2, 18, 9, 7), 4), ((3, 18, 5, 12), 6)):
        net.blobs["x0"].reshape(*shape)
        net.blobs["x1"].reshape(rois, 5)
        for name in net.inputs:
            net.blobs[name].data[...] = values_of("PSROIPooling", int(name[1]), net.blobs[name].shape,
                                                  np.random.default_rng(rois))
        net.reshape()
        found = run(tmp_path / "net.onnx", {name: net.blobs[name].data.copy() for name in net.inputs})
        np.testing.assert_allclose(found["y0"], net.forward()["y0"], rtol=1e-5, atol=1e-5)


def test_proposals_of_maps_of_any_size(tmp_path):
    net = net_of(EXAMPLES["proposal"])
    caffe.to_onnx(net, tmp_path / "net.onnx", {"x0": (2, 6, "h", "w"), "x1": (2, 12, "h", "w")})
    for size in ((5, 7), (3, 9)):
        for name, channels in (("x0", 6), ("x1", 12)):
            net.blobs[name].reshape(2, channels, *size)
            net.blobs[name].data[...] = 0.4 * np.random.default_rng(channels).standard_normal((2, channels, *size))
        net.reshape()
        found = run(tmp_path / "net.onnx", {name: net.blobs[name].data.copy() for name in net.inputs})
        for name, want in net.forward().items():
            np.testing.assert_allclose(found[name], want, rtol=1e-5, atol=1e-4)


def test_another_fixed_shape(tmp_path):
    net = parsed(NET)
    caffe.to_onnx(net, tmp_path / "net.onnx", {"x": (1, 3, 20, 30)})
    assert net.blobs["x"].shape == (2, 3, 13, 17)
    compare_at(net, tmp_path / "net.onnx", (1, 3, 20, 30))


MVN = """
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 9 } } }
layer { name: "norm" type: "MVN" bottom: "x" top: "n" }
layer { name: "pool" type: "Pooling" bottom: "x" top: "p" pooling_param { kernel_size: 2 stride: 3 pad: 1 } }
"""
FULL = """
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 9 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 } }
"""


@pytest.mark.parametrize("text, shapes, message", [
    (NET, {"y": (1, 3, 8, 9)}, "no input 'y', its inputs are x"),
    (NET, {"x": (1, 3, 8)}, "input 'x' has 4 axes, found 3"),
    (NET, {"x": ("side", 3, "side", "width")}, "'side' names axes of lengths 2 and 13"),
    (NET, {"x": (0, 3, 8, 9)}, "axis of length 0"),
    (FULL, ANY_SIZE, r"does not take the shape x 34 x 3 x 43 x 46: layer 'fc' \(InnerProduct\): expected 216"),
    (MVN, ANY_SIZE, r"(?s)layer 'pool' \(Pooling\): at some sizes .* lies in the padding")])
def test_shapes_that_are_not_possible(text, shapes, message, tmp_path):
    net = parsed(text)
    before = net.blobs["x"].shape
    with pytest.raises(ExportError, match=message):
        caffe.to_onnx(net, tmp_path / "net.onnx", shapes)
    assert net.blobs["x"].shape == before and not list(tmp_path.iterdir())


def test_layers_that_need_a_size_are_named(tmp_path):
    with pytest.raises(ExportError, match=r"free axes:\n  layer 'norm' \(MVN\): it cannot be converted for axes"):
        caffe.to_onnx(parsed(MVN.replace("stride: 3 pad: 1", "")), tmp_path / "net.onnx", ANY_SIZE)


def test_the_opset(tmp_path):
    caffe.to_onnx(parsed(NET), tmp_path / "net.onnx", ANY_SIZE, opset=21)
    assert onnx.load(str(tmp_path / "net.onnx")).opset_import[0].version == 21
    for version in (17, 22):
        with pytest.raises(ExportError, match=f"opset: expected 18 to 21, found {version}"):
            caffe.to_onnx(parsed(NET), tmp_path / "never.onnx", opset=version)


# ---- Python layers, and operations around the net
class Halves(caffe.Layer):
    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data / 2


class ConvertedHalves(Halves):
    def to_onnx(self, step):
        return step.times(step.inputs[0], 0.5)


class RefusedHalves(Halves):
    def to_onnx(self, step):
        step.refuse("only whole ones")


def python_net(layer, monkeypatch):
    monkeypatch.setitem(sys.modules, "halves", sys.modules[__name__])
    return parsed(f"""
    layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ dim: 1 dim: 2 dim: 3 }} }} }}
    layer {{ name: "half" type: "Python" bottom: "x" top: "h" python_param {{ module: "halves" layer: "{layer}" }} }}
    layer {{ name: "relu" type: "ReLU" bottom: "h" top: "r" }}
    """)


def test_a_python_layer_converts_itself(tmp_path, monkeypatch):
    net = python_net("ConvertedHalves", monkeypatch)
    caffe.to_onnx(net, tmp_path / "net.onnx", {"x": (1, "n", 3)})
    compare_at(net, tmp_path / "net.onnx", (1, 5, 3))


@pytest.mark.parametrize("layer, reason", [("Halves", r"its code is not ours; a method `to_onnx\(self, step\)`"),
                                           ("RefusedHalves", "only whole ones")])
def test_python_layers_without_a_conversion_are_named(layer, reason, tmp_path, monkeypatch):
    with pytest.raises(ExportError, match=rf"layer 'half' \(Python\): {reason}"):
        caffe.to_onnx(python_net(layer, monkeypatch), tmp_path / "net.onnx")


def test_operations_around_a_net(tmp_path):
    def before(part):
        part.reserve("c")
        return {"x": part.as_floats(part.input("pixels", np.uint8, ["batch", 3, "height", "width"]))}

    def after(part, values):
        part.output(part.as_ints(values["c"]), "c", np.int64, ["batch", 4, "rows", "columns"])

    net = parsed(NET)
    caffe.to_onnx(net, tmp_path / "net.onnx", ANY_SIZE, before=before, after=after, metadata={"made by": "us"})
    model = onnx.load(str(tmp_path / "net.onnx"))
    assert {prop.key: prop.value for prop in model.metadata_props} == {"made by": "us"}
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["pixels", "c"]
    pixels = np.random.default_rng(0).integers(0, 255, (2, 3, 13, 17), np.uint8)
    net.forward(x=pixels)
    np.testing.assert_array_equal(run(tmp_path / "net.onnx", {"pixels": pixels})["c"], np.trunc(net.blobs["c"].data))


# ---- the command
@pytest.fixture
def files(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    parsed(NET).save(str(tmp_path / "net.caffemodel"))
    return [str(tmp_path / name) for name in ("net.prototxt", "net.caffemodel", "net.onnx")]


def test_the_command(files, tmp_path):
    assert main(["export", "-input", "x=1,3,height,width", "-opset", "20", *files]) == 0
    compare_at(caffe.Net(files[0], caffe.TEST, weights=files[1]), files[2], (1, 3, 40, 30))


@pytest.mark.parametrize("index", [0, 1])
def test_the_command_never_replaces_its_inputs(index, files, capsys):
    assert main(["export", *files[:2], files[index]]) == 2
    assert f"OUT: {files[index]} is a file to read" in capsys.readouterr().err
    caffe.Net(files[0], caffe.TEST, weights=files[1])


@pytest.mark.parametrize("words, message", [
    (["-input", "x"], "expected NAME=N,C,H,W with numbers or words, as data=1,3,height,width, found x"),
    (["-input", "x=1,3,-2,4"], "expected NAME=N,C,H,W"), (["-input", "z=1"], "the net has no input 'z'"),
    (["-opset", "9"], "opset: expected 18 to 21, found 9")])
def test_mistakes_on_the_command_line(words, message, files, capsys):
    assert main(["export", *words, *files]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert message in lines[-1]
