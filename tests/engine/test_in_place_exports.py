"""Exports of nets in which layers work in place compute what the net computes.

Of the pairs of types, `IN_PLACE_PAIRS=99 pytest -k any_in_place` runs all, otherwise some for each first type.
"""
import os
import random

import numpy as np
import pytest
import torch
from in_place_nets import ALL_IN_PLACE, FIRST, SHARING, NetText, fits, shape_shared, shared, top_shape

import caffe
from caffe.export.onnx_model import onnx_model

onnx = pytest.importorskip("onnx", reason="needs the package onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")

EXPORTED = [text for text in ALL_IN_PLACE if not text.startswith("Python")]
PAIRS = int(os.environ.get("IN_PLACE_PAIRS", "10"))     # for each first layer


def on_onnx(net):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = onnx_model(net).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    given = {value.name: net.blobs[value.name].data.copy() for value in session.get_inputs()}
    return session.run(None, given)


def on_torch(net):
    with torch.no_grad():
        found = caffe.to_torch(net)(*(torch.tensor(net.blobs[name].data.copy()) for name in net.inputs))
    return [value.numpy() for value in (found if isinstance(found, tuple) else (found,))]


def difference(text: NetText) -> float:
    """The largest difference d of an export's output from the net's output y, as d / (1 + |y|)."""
    net = text.build(caffe.TEST)
    found = [on_torch(net), on_onnx(net)]
    worst, outputs = 0.0, net.forward()
    for name, *exported in zip(net.outputs, *found, strict=True):
        wanted = outputs[name]
        for array in exported:
            assert array.shape == wanted.shape, f"{name}: {array.shape}, expected {wanted.shape}"
            finite = np.isfinite(wanted)
            assert np.array_equal(np.isfinite(array), finite), f"{name}: not finite in other places"
            error = np.abs(array[finite] - wanted[finite]) / (1 + np.abs(wanted[finite]))
            worst = max(worst, float(error.max(initial=0)))
    return worst


@pytest.mark.parametrize("order", ["swc", "scw", "swcfr", "sfwc", "sfwrc"])
@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.slow
def test_memory_that_is_shared(sharing, order):
    shape = shape_shared(sharing)
    assert not {text: error for text in EXPORTED if fits(text, shape)
                and (error := difference(shared(sharing, text, order))) > 1e-4}


@pytest.mark.parametrize("part", [part for part in FIRST if not part.text.startswith("Python")], ids=str)
@pytest.mark.slow
def test_a_layer_followed_by_any_in_place_layer(part):
    shape, wrong = top_shape(part), {}
    fitting = [text for text in EXPORTED if fits(text, shape)]
    for text in random.Random(str(part)).sample(fitting, min(PAIRS, len(fitting))):
        net = NetText()
        net.add_in_place(text, net.first(part)[0], shape, "b")
        if (error := difference(net)) > 1e-4:
            wrong[text] = error
    assert not wrong


@pytest.mark.parametrize("part", [part for part in FIRST if part.text in EXPORTED], ids=str)
def test_an_in_place_layer_alone(part):
    net = NetText()
    net.first(part, in_place=True)
    assert difference(net) < 1e-4
