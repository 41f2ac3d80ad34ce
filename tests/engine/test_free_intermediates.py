"""Freed intermediates: the same results with less memory, and errors that name the freed blob."""
import numpy as np
import pytest

import caffe
from caffe.engine.net import Net
from caffe.proto import prototxt
from caffe.proto.caffe_pb2 import NetParameter, SolverParameter

TRUNK = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 9 dim: 7 } } }
layer { name: "frozen" type: "Convolution" bottom: "data" top: "frozen" param { lr_mult: 0 } param { lr_mult: 0 }
        convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "gaussian" std: 0.5 } } }
layer { name: "relu" type: "ReLU" bottom: "frozen" top: "frozen" }
layer { name: "learned" type: "Convolution" bottom: "frozen" top: "learned"
        convolution_param { num_output: 5 kernel_size: 2 weight_filler { type: "gaussian" std: 0.5 } } }
"""
DEAD_END = """
layer { name: "flat" type: "Flatten" bottom: "frozen" top: "flat" }
layer { name: "extra" type: "InnerProduct" bottom: "flat" top: "extra"
        inner_product_param { num_output: 6 weight_filler { type: "gaussian" std: 0.5 } } }
layer { name: "quiet" type: "Silence" bottom: "extra" }
"""
LOSS = """
layer { name: "score" type: "InnerProduct" bottom: "learned" top: "score"
        inner_product_param { num_output: 3 weight_filler { type: "gaussian" std: 0.5 } } }
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
"""


def parsed(text: str) -> NetParameter:
    net = NetParameter()
    prototxt.parse(text, net, "net")
    return net


def trained(freeing: bool, steps: int = 3):
    solver = caffe.get_solver(SolverParameter(net_param=parsed(TRUNK + DEAD_END + LOSS), base_lr=0.1,
                                              lr_policy="fixed", momentum=0.9, random_seed=4, type="SGD"))
    if freeing:
        solver.net.free_intermediates()
    solver.net.blobs["data"].data[...] = np.random.default_rng(0).normal(size=(2, 3, 9, 7))
    solver.net.blobs["label"].data[...] = [1, 2]
    solver.step(steps)
    return solver.net


def test_training_gives_the_same_bits():
    freed, plain = trained(True), trained(False)
    assert freed.frees_intermediates and not plain.frees_intermediates
    for name, blobs in plain.params.items():
        for a, b in zip(blobs, freed.params[name], strict=True):
            np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize("side", ["data", "tensor"])
def test_a_blob_that_was_not_computed_reports_it(side):
    with pytest.raises(RuntimeError,
                       match=r"'extra' was freed .* not computed .*free_intermediates\(keep=\['extra'\]\)"):
        getattr(trained(True).blobs["extra"], side)


def test_values_that_backward_reads_are_kept():
    freed, plain = trained(True), trained(False)
    for name in ("data", "frozen", "learned", "score", "label", "loss"):      # `learned` reads it to train
        np.testing.assert_array_equal(freed.blobs[name].data, plain.blobs[name].data)


def test_layers_that_end_in_silence_do_not_run():
    net, ran = trained(True), []
    extra = net.layer_dict["extra"]
    forward = extra.forward
    extra.forward = lambda bottom, top: (ran.append(1), forward(bottom, top))
    net.forward()
    assert not ran
    plain = trained(False)
    plain.forward()
    assert plain.blobs["extra"].data.any()


def test_test_nets_keep_only_inputs_outputs_and_named_blobs():
    net = Net(parsed(TRUNK + DEAD_END), caffe.TEST)
    net.blobs["data"].data[...] = np.random.default_rng(0).normal(size=(2, 3, 9, 7))
    plain = {name: array.copy() for name, array in net.forward(blobs=["extra", "frozen"]).items()}
    net.free_intermediates(keep=["extra"])
    for _ in range(2):
        outputs = net.forward(blobs=["extra"])
        assert sorted(outputs) == ["extra", "learned"]
        for name, array in outputs.items():
            np.testing.assert_array_equal(array, plain[name])
    with pytest.raises(RuntimeError, match="'frozen' was freed"):
        net.forward(blobs=["flat"])       # shares the values of the first blob that holds them


class Halves(caffe.Layer):
    """Writes its top in two parts, as Python layers do."""

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[0] = 2 * bottom[0].data[0]
        top[0].data[1] = 3 * bottom[0].data[1]


def test_python_layers_write_into_blobs_that_were_freed():
    python = f"""
        layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 2 dim: 3 dim: 9 dim: 7 }} }} }}
        layer {{ name: "halves" type: "Python" bottom: "data" top: "halves"
                 python_param {{ module: "{__name__}" layer: "Halves" }} }}
        layer {{ name: "sum" type: "Reduction" bottom: "halves" top: "sum" }}"""
    net = Net(parsed(python), caffe.TEST)
    net.free_intermediates()
    net.blobs["data"].data[...] = 1
    for _ in range(2):
        assert net.forward()["sum"] == 5 * 3 * 9 * 7


class Ones(caffe.Layer):
    """A constant, written once."""

    def setup(self, bottom, top):
        top[0].reshape(2)
        top[0].data[...] = 1

    def forward(self, bottom, top):
        pass


def test_constants_and_parameters_are_kept():
    constants = f"""
        layer {{ name: "two" type: "DummyData" top: "two"
                 dummy_data_param {{ shape {{ dim: 2 }} data_filler {{ value: 2 }} }} }}
        layer {{ name: "ones" type: "Python" top: "ones" python_param {{ module: "{__name__}" layer: "Ones" }} }}
        layer {{ name: "learned" type: "Parameter" top: "learned" parameter_param {{ shape {{ dim: 2 }} }} }}
        layer {{ name: "sum" type: "Eltwise" bottom: "two" bottom: "ones" bottom: "learned" top: "sum" }}"""
    net = Net(parsed(constants), caffe.TEST)
    net.free_intermediates()
    net.params["learned"][0].data[...] = 4
    for _ in range(2):
        assert net.forward()["sum"].tolist() == [7, 7]
