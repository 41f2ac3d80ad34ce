"""Recurrent layers as ONNX and as torch modules: starts of sequences, states, several layers."""
import numpy as np
import pytest
import torch
from layer_examples import EXAMPLES, net_of

import caffe
from caffe.proto import caffe_pb2
from caffe.proto.prototxt import parse

pytest.importorskip("onnx", reason="needs the package onnx")
pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
from onnx_runs import check, run  # noqa: E402  (it needs both packages)

FILLERS = "weight_filler { type: 'uniform' min: -0.8 max: 0.8 } bias_filler { type: 'uniform' min: -0.8 max: 0.8 }"


@pytest.mark.parametrize("name", ["lstm", "rnn"])
def test_states_of_earlier_passes_are_ignored(name, tmp_path):
    net = net_of(EXAMPLES[name])
    net.blobs["x1"].data[...] = 1       # no sequence begins: every pass of the net continues where the last one ended
    first = net.forward()["y0"].copy()
    assert np.abs(net.forward()["y0"] - first).max() > 1e-3
    caffe.to_onnx(net, tmp_path / "net.onnx")
    arrays = {blob: net.blobs[blob].data.copy() for blob in net.inputs}
    module = caffe.to_torch(net)
    for _ in range(2):
        np.testing.assert_allclose(run(tmp_path / "net.onnx", arrays)["y0"], first, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(module(*map(torch.tensor, arrays.values())).detach(), first, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["lstm", "lstm_exposed", "rnn", "lstm_unit"])
def test_marks_between_0_and_1(name, tmp_path):
    net = net_of(EXAMPLES[name])
    mark = net.blobs["x2" if name == "lstm_unit" else "x1"]
    mark.data[...] = np.random.default_rng(2).uniform(0, 1, mark.shape)
    check(net, tmp_path / "net.onnx")


def test_stacked_layers_with_shared_weights(tmp_path):
    text = f"""
    layer {{ name: "in" type: "Input" top: "x" top: "cont"
      input_param {{ shape {{ dim: 6 dim: 2 dim: 4 }} shape {{ dim: 6 dim: 2 }} }} }}
    layer {{ name: "a" type: "LSTM" bottom: "x" bottom: "cont" top: "ha" param {{ name: "w" }} param {{ name: "b" }}
      param {{ name: "u" }} recurrent_param {{ num_output: 4 {FILLERS} }} }}
    layer {{ name: "b" type: "LSTM" bottom: "ha" bottom: "cont" top: "hb" param {{ name: "w" }} param {{ name: "b" }}
      param {{ name: "u" }} recurrent_param {{ num_output: 4 {FILLERS} }} }}
    layer {{ name: "c" type: "RNN" bottom: "hb" bottom: "cont" top: "hc"
      recurrent_param {{ num_output: 3 {FILLERS} }} }}
    layer {{ name: "d" type: "ReLU" bottom: "hc" top: "hc" }}
    """
    net = caffe.Net(parse(text, caffe_pb2.NetParameter()), caffe.TEST)
    net.blobs["x"].data[...] = np.random.default_rng(0).standard_normal(net.blobs["x"].shape)
    net.blobs["cont"].data[...] = np.arange(12).reshape(6, 2) % 5 > 0
    check(net, tmp_path / "net.onnx")
