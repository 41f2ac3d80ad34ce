"""Passes over parts of a net: every gradient has its own memory, except where layers share it as in Caffe."""
import numpy as np
import pytest

import caffe
from caffe.proto import caffe_pb2, prototxt

DIAMOND = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 2 dim: 4 } } }
layer { name: "b" type: "InnerProduct" bottom: "x" top: "b" inner_product_param { num_output: 4
        weight_filler { type: "gaussian" std: 1 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 4
        weight_filler { type: "gaussian" std: 1 } } }
layer { name: "r" type: "ReLU" bottom: "a" top: "a" }
layer { name: "e" type: "Eltwise" bottom: "a" bottom: "b" top: "y" }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""
INPUT = "layer { name: '%s' type: 'Input' top: '%s' input_param { shape { dim: 2 dim: 3 } } } "
SUMS = {
    "Eltwise": "bottom: 'y' bottom: 'x'", "Bias": "bottom: 'y' bottom: 'z' bias_param { axis: 0 num_axes: 2 }",
    "Concat": "bottom: 'y' bottom: 'x'", "Dropout": "bottom: 'y'", "Axpy": "bottom: 'f' bottom: 'x' bottom: 'y'",
}


def net_of(text: str) -> caffe.Net:
    caffe.set_random_seed(3)
    net = caffe.Net(prototxt.parse(text, caffe_pb2.NetParameter()), caffe.TEST)
    for index, name in enumerate(net.inputs):
        net.blobs[name].data[...] = np.random.default_rng(index).standard_normal(net.blobs[name].shape)
    return net


def test_backward_in_two_parts_with_gradients_read_in_between_equals_one_pass():
    whole, parts = net_of(DIAMOND), net_of(DIAMOND)
    for net in whole, parts:
        net.forward()
    whole.backward()
    parts.backward(end="e")
    assert parts.blobs["a"].diff is not None and parts.blobs["b"].diff is not None
    parts.backward(start="r")
    for name, blobs in whole.params.items():
        for blob, other in zip(blobs, parts.params[name], strict=True):
            np.testing.assert_array_equal(other.diff, blob.diff, err_msg=name)


@pytest.mark.parametrize("type_name", SUMS)
@pytest.mark.parametrize("seen", [(), ("top",), ("y", "x", "top")])
def test_writing_a_gradient_changes_no_other(type_name, seen):
    net = net_of("force_backward: true " + "".join(INPUT % (name, name) for name in "xyzf")
                 + f"layer {{ name: 'l' type: '{type_name}' {SUMS[type_name]} top: 'top' }}")
    for name in seen:
        assert net.blobs[name].diff is not None
    net.forward()
    net.blobs["top"].diff[...] = 2
    for _ in range(2):
        net.backward(end="l")
        net.blobs["y"].diff[...] = 5
        assert (net.blobs["top"].diff == 2).all()
    net.blobs["top"].diff[...] = 3
    assert (net.blobs["y"].diff == 5).all()


def test_layers_that_share_a_gradient_keep_sharing_it():
    net = net_of("force_backward: true " + INPUT % ("x", "x") +
                 "layer { name: 'r' type: 'Reshape' bottom: 'x' top: 'y' reshape_param { shape { dim: -1 } } }")
    net.forward()
    net.blobs["y"].diff[...] = np.arange(6)
    assert net.blobs["x"].diff.ravel().tolist() == list(range(6))
    net.blobs["x"].data[...] = 4
    assert (net.blobs["y"].data == 4).all()
