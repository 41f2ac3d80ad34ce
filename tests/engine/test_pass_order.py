"""A backward pass that does not follow a forward pass of the same shapes ends in one message."""
import numpy as np
import pytest

import caffe
from caffe.proto import caffe_pb2, prototxt

INPUT = """
force_backward: true
layer { name: "in" type: "Input" top: "x" top: "label" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 6 }
        shape { dim: 2 } } }
"""
NET = INPUT + """
layer { name: "pool" type: "Pooling" bottom: "x" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 5
        weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


def make_net(text=NET):
    return caffe.Net(prototxt.parse(text, caffe_pb2.NetParameter()), caffe.TRAIN)


def test_backward_before_forward():
    net = make_net()
    with pytest.raises(caffe.LayerError, match=r"layer 'loss' \(SoftmaxWithLoss\): .*call net.forward\(\) first"):
        net.backward()
    net.forward(end="fc")
    with pytest.raises(caffe.LayerError, match="layer 'loss'"):
        net.backward()
    net.backward(start="fc")        # what ran forward runs backward
    net.forward()
    net.backward()


def test_layers_that_keep_nothing_run_backward_before_forward():
    net = make_net(INPUT + 'layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" '
                           'inner_product_param { num_output: 5 } }')
    net.params["fc"][0].data[...] = 2
    np.testing.assert_array_equal(net.backward(fc=np.ones((2, 5)), label=np.ones(2))["x"], 10)


def test_backward_after_a_reshape():
    net = make_net()
    net.forward()
    net.blobs["x"].reshape(3, 3, 4, 6)
    net.blobs["label"].reshape(3)
    net.reshape()
    with pytest.raises(caffe.LayerError, match=r"layer 'loss' .*call net.forward\(\) after a reshape") as caught:
        net.backward()
    assert "[(2, 5), (2,), ()], this backward pass has [(3, 5), (3,), ()]" in str(caught.value)
    net.forward()
    assert net.backward()["x"].shape == (3, 3, 4, 6)


def test_bottoms_without_values():
    net = make_net()
    net.blobs["x"].reshape(2, 0, 4, 6)
    with pytest.raises(caffe.LayerError, match=r"layer 'pool' .*without values, found shapes \[\(2, 0, 4, 6\)\]"):
        net.forward()
