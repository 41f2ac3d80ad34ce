"""caffe.to_onnx: models run by onnxruntime against the net's own forward."""
import builtins

import numpy as np
import pytest
from layer_examples import EXAMPLES, TORCH_ONLY, net_of

import caffe
from caffe.export import ExportError, OnnxMissing
from caffe.proto import caffe_pb2
from caffe.proto.prototxt import parse

onnx = pytest.importorskip("onnx", reason="needs the package onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")


def run(path, arrays):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    given = {value.name for value in session.get_inputs()}
    return dict(zip(names, session.run(None, {name: arrays[name] for name in given}), strict=True))


def check(net, path, tolerance=1e-5):
    """Write the net, and compare onnxruntime's outputs with those of the net."""
    caffe.to_onnx(net, path)
    onnx.checker.check_model(str(path), full_check=True)
    found = run(path, {name: net.blobs[name].data.copy() for name in net.inputs})
    expected = net.forward()
    assert list(found) == list(expected)
    for name, want in expected.items():
        assert found[name].shape == want.shape
        np.testing.assert_allclose(found[name], want, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("name", EXAMPLES)
def test_layers(name, tmp_path):
    check(net_of(EXAMPLES[name]), tmp_path / "net.onnx")


def test_ties_of_arg_max(tmp_path):
    net = net_of(EXAMPLES["arg_max"])
    net.blobs["x0"].data[...] = np.random.default_rng(0).integers(0, 3, net.blobs["x0"].shape)
    check(net, tmp_path / "net.onnx")


def test_every_supported_type_has_an_example():
    from caffe.export.onnx_graph import CONVERTERS
    tested = {net_of(example).engine_layers[-1].type for example in EXAMPLES.values()}
    assert set(CONVERTERS) - tested == {"DepthwiseConvolution", "Parameter", "Silence"}
    assert set(CONVERTERS) <= set(caffe.layer_type_list())


# ---------------------------------------------------------------------------------------------- whole nets
NET = """
name: "whole"
layer { name: "in" type: "Input" top: "b" top: "a" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 9 }
                                                                 shape { dim: 2 dim: 5 } } }
layer { name: "conv" type: "Convolution" bottom: "b" top: "c" convolution_param { num_output: 4 kernel_size: 3
  weight_filler { type: "gaussian" std: 0.3 } } }
layer { name: "relu" type: "ReLU" bottom: "c" top: "c" }
layer { name: "drop" type: "Dropout" bottom: "c" top: "c" }
layer { name: "extra" type: "Pooling" bottom: "c" top: "extra" pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "fc/a" type: "InnerProduct" bottom: "c" top: "z" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.3 } } }
layer { name: "fc/b" type: "InnerProduct" bottom: "c" top: "other" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.3 } } }
layer { name: "relu_b" type: "ReLU" bottom: "other" top: "other" }
layer { name: "quiet" type: "Silence" bottom: "extra" }
layer { name: "learned" type: "Parameter" top: "p" parameter_param { shape { dim: 2 dim: 5 } } }
layer { name: "sum" type: "Eltwise" bottom: "z" bottom: "a" bottom: "p" top: "sum" }
layer { name: "one" type: "Concat" bottom: "sum" top: "one" }
"""


def parsed(text):
    return parse(text, caffe_pb2.NetParameter())


def test_whole_net(tmp_path):
    net = caffe.Net(parsed(NET), caffe.TEST)
    for name in net.inputs:
        net.blobs[name].data[...] = np.random.default_rng(3).standard_normal(net.blobs[name].shape)
    net.params["learned"][0].data[...] = 2
    check(net, tmp_path / "net.onnx")
    model = onnx.load(str(tmp_path / "net.onnx"))
    assert [value.name for value in model.graph.input] == ["b", "a"]
    assert [value.name for value in model.graph.output] == ["one", "other"] == net.outputs
    assert sum(array.name.startswith("fc/") and array.dims == [5, 168] for array in model.graph.initializer) == 1
    assert not any(node.op_type == "Identity" and node.output[0] == "other" for node in model.graph.node)


def test_an_output_that_is_an_input_is_copied(tmp_path):
    net = caffe.Net(parsed('layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }'),
                    caffe.TEST)
    caffe.to_onnx(net, tmp_path / "net.onnx")
    assert list(run(tmp_path / "net.onnx", {"x": np.ones((2, 3), np.float32)})) == ["x_2"]


def test_layers_without_conversion_are_all_named():
    text = """
    layer { name: "in" type: "Input" top: "x" top: "c"
      input_param { shape { dim: 5 dim: 2 dim: 3 } shape { dim: 5 dim: 2 } } }
    layer { name: "memory" type: "LSTM" bottom: "x" bottom: "c" top: "h" recurrent_param { num_output: 4 } }
    layer { name: "r" type: "ReLU" bottom: "h" top: "r" }
    layer { name: "cost" type: "EuclideanLoss" bottom: "r" bottom: "r" top: "loss" }
    """
    with pytest.raises(ExportError, match=r"(?s)ONNX model.*'memory' \(LSTM\): ONNX has no.*'cost' \(EuclideanLoss\)"):
        caffe.to_onnx(caffe.Net(parsed(text), caffe.TEST), "never.onnx")


@pytest.mark.parametrize("name", TORCH_ONLY)
def test_refused_layers(name, tmp_path):
    with pytest.raises(ExportError, match="layer 'tested'"):
        caffe.to_onnx(net_of(TORCH_ONLY[name]), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_settings_without_conversion_are_refused(tmp_path):
    outside = "type: 'Pooling' pooling_param { pool: MAX kernel_size: 1 stride: 3 }", [(2, 3, 5, 6)], 2
    unpooling = "type: 'Upsample' upsample_param { scale: 2 }", [(2, 3, 5, 6)] * 2, 1
    for example in (outside, unpooling):
        with pytest.raises(ExportError, match="mask"):
            caffe.to_onnx(net_of(example), tmp_path / "net.onnx")


def test_nets_in_training_are_refused(tmp_path):
    with pytest.raises(ValueError, match="TEST phase"):
        caffe.to_onnx(net_of(EXAMPLES["conv"], caffe.TRAIN), tmp_path / "net.onnx")


def test_missing_package_is_named(tmp_path, monkeypatch):
    original = builtins.__import__

    def without_onnx(name, *args, **options):
        if name == "onnx":
            raise ImportError("no onnx")
        return original(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_onnx)
    with pytest.raises(OnnxMissing, match="pip install onnx"):
        caffe.to_onnx(net_of(EXAMPLES["conv"]), tmp_path / "net.onnx")


def test_large_weights_go_into_a_second_file(tmp_path, monkeypatch):
    monkeypatch.setattr(caffe.export.onnx_model, "_LARGEST_FILE", 1)
    net = net_of((EXAMPLES["ip"][0], [(2, 600)], 1))
    check(net, tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx.data").stat().st_size >= 4 * 600 * 4


def test_command_names_what_cannot_be_exported(tmp_path, capsys):
    from caffe.commands import main
    net = net_of(TORCH_ONLY["hinge_loss"])
    (tmp_path / "net.prototxt").write_text(
        "layer { name: 'in' type: 'Input' top: 'x' top: 't'\n"
        "  input_param { shape { dim: 4 dim: 6 } shape { dim: 4 } } }\n"
        "layer { name: 'tested' type: 'HingeLoss' bottom: 'x' bottom: 't' top: 'y' }")
    net.save(str(tmp_path / "net.caffemodel"))
    words = [str(tmp_path / name) for name in ("net.prototxt", "net.caffemodel", "net.onnx")]
    assert main(["export", *words]) == 2
    assert "layer 'tested' (HingeLoss): its type has no conversion" in capsys.readouterr().err
