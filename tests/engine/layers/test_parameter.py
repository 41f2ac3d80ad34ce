"""Parameter."""
from layer_checker import Runner, refused

import caffe
from caffe.proto import caffe_pb2, prototxt


def test_the_top_is_the_parameter():
    runner = Runner("type: 'Parameter' parameter_param { shape { dim: 3 dim: 4 } }", [])
    assert (runner.forward()[0] == 0).all() and runner.layer.blobs[0].shape == (3, 4)
    runner.layer.blobs[0].data[...] = 2
    assert (runner.forward()[0] == 2).all()


def test_the_gradient_is_shared_and_so_overwritten():
    runner = Runner("type: 'Parameter' parameter_param { shape { dim: 3 dim: 4 } }", [])
    for value in (1, 5):
        runner.forward()
        runner.top[0].diff[...] = value
        runner.layer.backward(runner.top, [], [])
        assert (runner.layer.blobs[0].diff == value).all()


def test_a_loss_on_the_parameter_has_its_gradient_in_every_pass():
    net = caffe.Net(prototxt.parse("layer { name: 'p' type: 'Parameter' top: 'p' loss_weight: 0.5 "
                                   "parameter_param { shape { dim: 3 } } }", caffe_pb2.NetParameter()), caffe.TRAIN)
    for _ in range(2):
        net.clear_param_diffs()
        net.forward()
        net.backward()
        assert net.params["p"][0].diff.tolist() == [0.5] * 3


def test_bad_input():
    refused("type: 'Parameter'", [(2, 3)], "0 bottom")
