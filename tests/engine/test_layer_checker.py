"""The layer checker must find faults."""
import numpy as np
import pytest
import torch
from layer_checker import check, distinct, randn, refused

from caffe.engine import layer as layer_module
from caffe.engine.layer import AutogradLayer, Layer


class Square(AutogradLayer):
    type = "CheckerSquare"
    exact_bottoms = exact_tops = 1
    runs_in_place = True

    def reshape(self, bottom, top):
        if not bottom[0].shape:
            self.fail("a scalar")
        top[0].reshape(*bottom[0].shape)

    def compute(self, value):
        return value * value


class Faulty(Layer):
    """top = bottom^2, with a fault chosen by the test."""

    type = "CheckerFaulty"
    exact_bottoms = exact_tops = 1
    runs_in_place = True
    backward_reads_bottoms = backward_reads_tops = False
    fault = ""

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        self.kept = bottom[0].tensor
        value = bottom[0].tensor.square()
        top[0].tensor = value.double() if self.fault == "type" else value

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0] and self.fault != "flag":
            return
        gradient = 2 * top[0].grad * (bottom[0].tensor if self.fault == "in place" else self.kept)
        if self.fault == "reads":
            gradient = gradient + 0 * top[0].tensor
        if self.fault == "gradient":
            gradient = gradient * 1.001
        if self.fault == "adds" and bottom[0].has_grad:
            gradient = gradient + bottom[0].grad
        bottom[0].grad = gradient


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for cls in (Square, Faulty):
        monkeypatch.setitem(layer_module._REGISTRY, cls.type, cls)


def square(x):
    return x * x


def test_accepts_a_correct_layer():
    check("type: 'CheckerSquare'", [randn(2, 3, 4, 5)], square, in_place=True)


@pytest.mark.parametrize("fault", ["gradient", "flag", "adds", "in place", "reads", "type"])
def test_finds_a_fault(fault, monkeypatch):
    check("type: 'CheckerFaulty'", [randn(2, 3)], square, in_place=True)
    monkeypatch.setattr(Faulty, "fault", fault)
    with pytest.raises(AssertionError):
        check("type: 'CheckerFaulty'", [randn(2, 3)], square, in_place=True)


def test_finds_wrong_values():
    with pytest.raises(AssertionError, match="top"):
        check("type: 'CheckerSquare'", [randn(2, 3)], lambda x: x * x + 1e-3)


def test_finds_wrong_shapes():
    with pytest.raises(AssertionError, match="shape"):
        check("type: 'CheckerSquare'", [randn(2, 3)], lambda x: (x * x)[None])


def test_refuses_equal_dimensions():
    with pytest.raises(ValueError, match="equal dimensions"):
        check("type: 'CheckerSquare'", [randn(2, 3, 2)], square)


def test_refused_requires_the_layers_own_message():
    refused("type: 'CheckerSquare'", [()], "a scalar")
    with pytest.raises(BaseException, match="DID NOT RAISE"):
        refused("type: 'CheckerSquare'", [(2, 3)], "a scalar")


def test_inputs_are_the_same_in_every_run():
    assert (randn(2, 3) == randn(2, 3)).all() and randn(2, 3).dtype == np.float64
    values = np.sort(distinct(4, 5).ravel())
    assert np.diff(values).min() > 0.099
    assert torch.tensor(values).abs().min() > 0.01
