"""Split."""
import numpy as np
from layer_checker import Runner, check, randn, refused


def test_split():
    check("type: 'Split'", [randn(2, 3, 4, 5)], lambda x: (x, x, x), num_tops=3)
    check("type: 'Split'", [randn(2, 3, 4)], lambda x: x)


def test_values_are_shared_and_gradients_are_not():
    runner = Runner("type: 'Split'", [randn(2, 3)], num_tops=2)
    runner.bottom[0].data[...] = 4
    assert (runner.top[1].data == 4).all()
    runner.top[0].diff[...] = 1
    runner.top[1].diff[...] = 2
    runner.layer.backward(runner.top, [True], runner.bottom)
    assert (runner.bottom[0].diff == 3).all() and (runner.top[0].diff == 1).all()


def test_a_top_without_gradient_counts_as_zero():
    runner = Runner("type: 'Split'", [randn(2, 3)], num_tops=3)
    runner.layer.backward(runner.top, [True], runner.bottom)
    assert (runner.bottom[0].diff == np.zeros((2, 3))).all()
    runner.top[1].diff[...] = 2
    runner.layer.backward(runner.top, [True], runner.bottom)
    assert (runner.bottom[0].diff == 2).all()


def test_bad_input():
    refused("type: 'Split'", [(2, 3), (2, 3)], "takes 1 bottom blob")
    refused("type: 'Split'", [(2, 3)], "takes at least 1 top blob", num_tops=0)
