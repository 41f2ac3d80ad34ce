"""Silence."""
from layer_checker import Runner, randn, refused


def test_gradients_are_zero_where_requested():
    runner = Runner("type: 'Silence'", [randn(2, 3), randn(4)], num_tops=0)
    assert runner.forward() == []
    runner.bottom[0].diff[...] = 5
    runner.bottom[1].diff[...] = 5
    runner.layer.backward([], [True, False], runner.bottom)
    assert (runner.bottom[0].diff == 0).all() and (runner.bottom[1].diff == 5).all()


def test_bad_input():
    refused("type: 'Silence'", [], "at least 1 bottom", num_tops=0)
    refused("type: 'Silence'", [(2, 3)], "0 top", num_tops=1)
