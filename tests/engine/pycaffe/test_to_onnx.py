"""caffe.to_onnx: models run by onnxruntime against the net's own forward pass."""
import builtins

import numpy as np
import pytest
import torch
from layer_examples import EXAMPLES, net_of

import caffe
from caffe.engine import layer
from caffe.export import ExportError, OnnxMissing
from caffe.layer_docs import catalogue
from caffe.proto import caffe_pb2
from caffe.proto.prototxt import parse

onnx = pytest.importorskip("onnx", reason="needs the package onnx")
pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
from onnx_runs import check, run  # noqa: E402  (it needs both packages)


@pytest.mark.parametrize("name", EXAMPLES)
def test_layers(name, tmp_path):
    check(net_of(EXAMPLES[name]), tmp_path / "net.onnx")


def test_ties_of_arg_max(tmp_path):
    net = net_of(EXAMPLES["arg_max"])
    net.blobs["x0"].data[...] = np.random.default_rng(0).integers(0, 3, net.blobs["x0"].shape)
    check(net, tmp_path / "net.onnx")


def test_average_of_windows_beyond_the_image(tmp_path):
    check(net_of(("type: 'Pooling' pooling_param { pool: AVE kernel_size: 1 stride: 2 }", [(1, 2, 3, 4)], 1)),
          tmp_path / "net.onnx")


def test_odd_regions_of_psroi_pooling(tmp_path):
    """Halves are rounded away from zero; points, inverted RoIs and RoIs outside the image."""
    corners = [(0.5, 1.5, 2.5, 20.5), (-2.5, -0.5, -0.5, 3), (4, 4, 4, 4), (9, 9, 2, 3), (90, 90, 99, 99),
               (0, 0, 27, 35)]
    net = net_of((EXAMPLES["psroi_pooling"][0], [(2, 18, 9, 7), (len(corners), 5)], 1))
    net.blobs["x1"].data[...] = [(index % 2, *corner) for index, corner in enumerate(corners)]
    check(net, tmp_path / "net.onnx")


def test_detections_that_depend_on_ties_and_inverted_boxes(tmp_path):
    net = net_of(EXAMPLES["detection_output_corner"])
    random = np.random.default_rng(0)
    net.blobs["x0"].data[...] *= 3
    net.blobs["x1"].data[...] = random.integers(0, 3, net.blobs["x1"].shape)
    boxes = net.blobs["x2"].data[0, 0].reshape(-1, 4)
    boxes[::3] = boxes[::3, ::-1]
    check(net, tmp_path / "net.onnx")
    dims = onnx.load(str(tmp_path / "net.onnx")).graph.output[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == [1, 1, "items of y0", 7]


@pytest.mark.parametrize("settings, reason", [("eta: 0.5", "one threshold"), ("top_k: 0", "never find anything")])
def test_detections_that_onnx_cannot_choose(settings, reason, tmp_path):
    text = EXAMPLES["detection_output_corner"][0].replace("nms_param {", f"nms_param {{ {settings}")
    with pytest.raises(ExportError, match=rf"layer 'tested' \(DetectionOutput\): .*{reason}"):
        caffe.to_onnx(net_of((text, *EXAMPLES["detection_output_corner"][1:])), tmp_path / "net.onnx")


def test_a_layer_behind_detections_is_refused(tmp_path):
    text = """layer { name: "in" type: "Input" top: "loc" top: "conf" top: "prior" input_param {
                shape { dim: 1 dim: 8 } shape { dim: 1 dim: 6 } shape { dim: 1 dim: 2 dim: 8 } } }
              layer { name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "prior" top: "out"
                detection_output_param { num_classes: 3 } }
              layer { name: "behind" type: "Power" bottom: "out" top: "behind" }"""
    with pytest.raises(ExportError, match=r"layer 'behind' \(Power\): a DetectionOutput before it decides the number"):
        caffe.to_onnx(caffe.Net(parsed(text), caffe.TEST), tmp_path / "net.onnx")


def test_every_supported_type_has_an_example():
    from caffe.export.onnx_graph import CONVERTERS
    tested = {net_of(example).engine_layers[-1].type for example in EXAMPLES.values()}
    assert set(CONVERTERS) - tested == {"DepthwiseConvolution", "HDF5Output", "Silence"}


def test_every_type_that_computes_has_a_conversion():
    from caffe.export.onnx_graph import CONVERTERS
    others = {"AnnotatedData", "CTCLoss", "CtcLoss", "Data", "DetectionEvaluate", "HDF5Data", "ImageData",
              "ImageLabelmapData", "ImageSegData", "Input", "MemoryData", "MultiBoxLoss", "Python", "WarpCTCLoss",
              "WindowData", "Yolov3"}
    assert set(catalogue()) - set(CONVERTERS) == others


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


def test_all_layers_without_conversion_are_named():
    text = """
    layer { name: "d" type: "DummyData" top: "x" top: "z" dummy_data_param { shape { dim: 4 dim: 2 }
            data_filler { value: 1 } data_filler { type: "uniform" max: 1 } } }
    layer { name: "e" type: "MemoryData" top: "p" top: "q"
            memory_data_param { batch_size: 4 channels: 1 height: 1 width: 2 } }
    layer { name: "cost" type: "EuclideanLoss" bottom: "x" bottom: "p" top: "loss" }
    """
    with pytest.raises(ExportError, match=r"(?s)ONNX model.*'d' \(DummyData\): its values are random; give the net "
                                          r"an Input layer.*'e' \(MemoryData\): it reads data; give the net an Input"):
        caffe.to_onnx(caffe.Net(parsed(text), caffe.TEST), "never.onnx")


def test_layers_that_a_program_registered_have_no_conversion(tmp_path, monkeypatch):
    class Doubled(caffe.AutogradLayer):
        exact_bottoms = exact_tops = 1

        def reshape(self, bottom, top):
            top[0].reshape(*bottom[0].shape)

        def compute(self, value):
            return 2 * value

    monkeypatch.setattr(layer, "_REGISTRY", dict(layer._REGISTRY))
    caffe.register_layer("Doubled")(Doubled)
    net = net_of(("type: 'Doubled'", [(2, 3)], 1))
    with pytest.raises(ExportError, match=r"'tested' \(Doubled\): its type has no conversion"):
        caffe.to_onnx(net, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
    np.testing.assert_array_equal(caffe.to_torch(net)(torch.ones(2, 3)), np.full((2, 3), 2))


def test_a_layer_that_writes_files_is_omitted(tmp_path):
    text = f"""
    layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ dim: 3 dim: 2 }} }} }}
    layer {{ name: "r" type: "ReLU" bottom: "x" top: "r" }}
    layer {{ name: "w" type: "HDF5Output" bottom: "x" bottom: "x" hdf5_output_param {{ file_name: "{tmp_path}/h" }} }}
    """
    net = caffe.Net(parsed(text), caffe.TEST)
    caffe.to_onnx(net, tmp_path / "net.onnx")
    value = np.array([[1, -2], [3, 4], [-5, 6]], np.float32)
    np.testing.assert_array_equal(run(tmp_path / "net.onnx", {"x": value})["r"], value.clip(min=0))
    np.testing.assert_array_equal(caffe.to_torch(net)(torch.tensor(value)), value.clip(min=0))
    assert not (tmp_path / "h").exists()


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
    for _ in range(2):      # the second model replaces the first
        check(net, tmp_path / "net.onnx")
        assert (tmp_path / "net.onnx.data").stat().st_size == 4 * 600 * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data"]


def test_command_names_what_cannot_be_exported(tmp_path, capsys):
    from caffe.commands import main
    (tmp_path / "net.prototxt").write_text(
        "layer { name: 'tested' type: 'MemoryData' top: 'x' top: 't'\n"
        "  memory_data_param { batch_size: 4 channels: 6 height: 1 width: 1 } }")
    caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).save(str(tmp_path / "net.caffemodel"))
    words = [str(tmp_path / name) for name in ("net.prototxt", "net.caffemodel", "net.onnx")]
    assert main(["export", *words]) == 2
    assert "layer 'tested' (MemoryData): it reads data; give the net an Input" in capsys.readouterr().err
