"""Layers after a Filter as ONNX: one model for any number of selected items."""
import numpy as np
import pytest
from layer_examples import EXAMPLES, X, values_of

import caffe
from caffe.export import ExportError
from caffe.proto import caffe_pb2
from caffe.proto.prototxt import parse

onnx = pytest.importorskip("onnx", reason="needs the package onnx")
pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
from onnx_runs import compare  # noqa: E402  (it needs both packages)

ITEMS = 4
REFUSED = {"lstm", "lstm_static", "lstm_exposed", "lstm_one_step", "rnn", "rnn_exposed", "unpooling",
           "detection_output", "detection_output_corner", "detection_output_of_classes", "detection_output_empty",
           "lstm_of_crnn", "lstm_with_clip", "transpose", "ctc_decoder", "ctc_decoder_repeated", "ctc_decoder_one_step",
           "labelsequence_accuracy", "labelsequence_accuracy_long",
           "yolo_v2_output", "yolo_v3_output", "yolo_v3_output_empty"}
IMPOSSIBLE = {"continuation_indicator", "dummy_data", "parameter", "lstm_unit"}      # no bottoms, or always one item


ALONG_ITEMS = {
    "softmax": ("type: 'Softmax' softmax_param { axis: 0 }", [X], 1),
    "tile": ("type: 'Tile' tile_param { axis: 0 tiles: 3 }", [X], 1),
    "concat": ("type: 'Concat' concat_param { axis: 0 }", [X, X], 1),
    "slice_one": ("type: 'Slice' slice_param { axis: 0 }", [X], 1),
    "flatten": ("type: 'Flatten' flatten_param { axis: 0 end_axis: 1 }", [X], 1),
    "reshape": ("type: 'Reshape' reshape_param { shape { dim: -1 dim: 3 } num_axes: 2 }", [X], 1),
    "reshape_last": ("type: 'Reshape' reshape_param { shape { dim: 1 } axis: -1 }", [X], 1),
}
REFUSED_ALONG_ITEMS = {
    "arg_max": ("type: 'ArgMax' argmax_param { axis: 0 }", [X], 1),
    "crop": ("type: 'Crop' crop_param { axis: 0 }", [X, X], 1),
    "permute": ("type: 'Permute' permute_param { order: 1 order: 0 }", [X], 1),
    "power": ("type: 'Power' power_param { scale: 0 shift: 2 }", [X], 1),
    "reshape": ("type: 'Reshape' reshape_param { shape { dim: 6 dim: -1 } num_axes: 2 }", [X], 1),
    "slice": ("type: 'Slice' slice_param { axis: 0 }", [X], 2),
    "inner_product": ("type: 'InnerProduct' inner_product_param { axis: 0 num_output: 3 }", [X], 1),
    "accuracy": ("type: 'Accuracy' accuracy_param { axis: 0 }", [(6, 5), (5,)], 1),
}


def filtered_net(example):
    """The example's layer on items (N, ...) selected by a Filter: all bottoms have as many items as the first."""
    text, shapes, num_tops = example
    is_item = [shape[0] == shapes[0][0] for shape in shapes] if "ROI" not in text else [False, True]
    shapes = [(ITEMS, *shape[1:]) if flag else shape for shape, flag in zip(shapes, is_item, strict=True)]
    inputs = {f"x{i}": shape for i, shape in enumerate(shapes)} | {"selector": (ITEMS,)}
    lines = [f"layer {{ name: '{blob}' type: 'Input' top: '{blob}' input_param {{ shape {{ "
             + " ".join(f"dim: {dim}" for dim in shape) + " } } }" for blob, shape in inputs.items()]
    chosen = [i for i, flag in enumerate(is_item) if flag]
    bottoms, tops = (" ".join(f"{kind}: '{name}{i}'" for i in chosen) for kind, name in (("bottom", "x"), ("top", "f")))
    lines.append(f"layer {{ name: 'filter' type: 'Filter' {bottoms} bottom: 'selector' {tops} }}")
    bottoms = " ".join(f"bottom: '{'f' if flag else 'x'}{i}'" for i, flag in enumerate(is_item))
    tops = " ".join(f"top: 'y{i}'" for i in range(num_tops))
    lines.append(f"layer {{ name: 'tested' {text} {bottoms} {tops} }}")
    net = caffe.Net(parse("\n".join(lines), caffe_pb2.NetParameter()), caffe.TEST)
    random = np.random.default_rng(5)
    for index, shape in enumerate(shapes):
        net.blobs[f"x{index}"].data[...] = values_of(net.engine_layers[-1].type, index, shape, random)
    if "'BatchReindex'" in text:
        net.blobs["x1"].data[...] = 0       # the others may be filtered out
    for blob in net.params.get("tested", ()):
        blob.data[...] = random.uniform(0.5, 2, blob.shape)
    return net


@pytest.mark.parametrize("example", [
    *(pytest.param(example, id=name) for name, example in EXAMPLES.items() if name not in REFUSED | IMPOSSIBLE),
    *(pytest.param(example, id=f"{name}_along_items") for name, example in ALONG_ITEMS.items())])
def test_any_number_of_items(example, tmp_path):
    net = filtered_net(example)
    net.blobs["selector"].data[...] = 1
    caffe.to_onnx(net, tmp_path / "net.onnx")
    onnx.checker.check_model(str(tmp_path / "net.onnx"), full_check=True)
    for selector in ((1, 1, 1, 1), (0, 2, 0, -1), (0, 0, 0, 1)):
        net.blobs["selector"].data[...] = selector
        compare(net, tmp_path / "net.onnx")


@pytest.mark.parametrize("example", [
    *(pytest.param(EXAMPLES[name], id=name) for name in sorted(REFUSED)),
    *(pytest.param(example, id=f"{name}_along_items") for name, example in REFUSED_ALONG_ITEMS.items())])
def test_layers_that_need_to_know_the_number(example, tmp_path):
    with pytest.raises(ExportError, match="a Filter before it decides|after a Filter, items must stay separate"):
        caffe.to_onnx(filtered_net(example), tmp_path / "net.onnx")


@pytest.mark.parametrize("name", ["conv", "ip", "softmax_loss", "infogain_loss", "accuracy", "euclidean_loss"])
def test_a_filter_that_selects_nothing(name, tmp_path):
    net = filtered_net(EXAMPLES[name])
    net.blobs["selector"].data[...] = 0
    net.forward()
    caffe.to_onnx(net, tmp_path / "net.onnx")
    compare(net, tmp_path / "net.onnx")
    net.blobs["selector"].data[...] = (1, 0, 0, 1)
    compare(net, tmp_path / "net.onnx")
