"""V1 nets with CROP layers, which compute their own offsets."""
import numpy as np
import pytest

import caffe
from caffe.engine.graph.upgrade import upgrade_net
from caffe.engine.layer import LayerError
from caffe.proto import caffe_pb2
from caffe.proto.prototxt import parse

# The structure of FCN-32s: a wide border, pooling, and upsampling to a top larger than the image
NET = """
input: "data" input_dim: [1, 3, 13, 17]
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv"
         convolution_param { num_output: 2 kernel_size: 3 pad: 10 weight_filler { type: "xavier" } } }
layers { name: "relu" type: RELU bottom: "conv" top: "conv" }
layers { name: "pool" type: POOLING bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
layers { name: "up" type: DECONVOLUTION bottom: "pool" top: "up"
         convolution_param { num_output: 2 kernel_size: 4 stride: 2 weight_filler { type: "bilinear" } } }
layers { name: "score" type: CROP bottom: "up" bottom: "data" top: "score" }
"""


def upgraded(text):
    net = parse(text, caffe_pb2.NetParameter())
    upgrade_net(net)
    return net


def test_the_offset_is_that_of_coord_map():
    net = upgraded(NET)
    score = net.layer[-1]
    # the pixel x of the image is x + 9 of conv, (x + 8.5) / 2 of pool, and x + 8.5 + 1.5 of up
    assert (score.type, score.crop_param.axis, list(score.crop_param.offset)) == ("Crop", 2, [10])


def test_what_it_computes():
    net = caffe.Net(parse(NET, caffe_pb2.NetParameter()), caffe.TEST)
    found = net.forward(data=np.random.default_rng(0).standard_normal((1, 3, 13, 17)))["score"]
    np.testing.assert_array_equal(found, net.blobs["up"].data[:, :, 10:23, 10:27])


def test_an_offset_is_not_changed_in_newer_nets():
    text = """layer { name: "a" type: "Input" top: "a" }
              layer { name: "c" type: "Crop" bottom: "a" bottom: "a" top: "c" }"""
    assert not upgraded(text).layer[1].HasField("crop_param")


@pytest.mark.parametrize("text, words", [
    (NET.replace("stride: 2 weight", "stride: 3 weight"), "scale mismatch"),
    (NET.replace("kernel_size: 4", "kernel_size: 3"), "no whole number"),
    (NET.replace("pad: 10", "pad: 0").replace("kernel_size: 4", "kernel_size: 4 pad: 1"), "negative offset"),
    (NET.replace('bottom: "data" top: "score"', 'bottom: "nowhere" top: "score"'), "nowhere"),
])
def test_bottoms_that_no_offset_aligns(text, words):
    with pytest.raises(LayerError, match=rf"layer 'score' \(CROP\): its bottoms cannot be aligned: .*{words}"):
        upgraded(text)
