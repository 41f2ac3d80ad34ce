"""Concat."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused


@pytest.mark.parametrize("settings, axis", [("", 1), ("axis: -1", -1), ("axis: 0", 0), ("concat_dim: 2", 2)])
def test_concat(settings, axis):
    bottoms = [randn(2, 3, 4, 5), randn(2, 3, 4, 5, seed=1), randn(2, 3, 4, 5, seed=2)]
    check(f"type: 'Concat' concat_param {{ {settings} }}", bottoms, lambda *x: np.concatenate(x, axis))


def test_different_lengths():
    check("type: 'Concat'", [randn(2, 3, 4), randn(2, 1, 4)], lambda a, b: np.concatenate([a, b], 1))


def test_a_single_bottom_is_shared():
    runner = Runner("type: 'Concat'", [randn(2, 3)])
    assert runner.forward()[0].shape == (2, 3)
    assert runner.top[0].shares_data_with(runner.bottom[0])
    runner.top[0].diff[...] = 3
    runner.layer.backward(runner.top, [True], runner.bottom)
    assert (runner.bottom[0].diff == 3).all()


def test_bad_input():
    refused("type: 'Concat'", [(2, 3, 4), (2, 3, 5)], "agree except along axis 1")
    refused("type: 'Concat'", [(2, 3, 4), (2, 3)], "agree except along axis 1")
    refused("type: 'Concat' concat_param { axis: 2 }", [(2, 3, 4), (2, 3)], "agree except along axis 2")
    refused("type: 'Concat' concat_param { axis: 3 }", [(2, 3, 4)], "axis 3")
    refused("type: 'Concat' concat_param { axis: 1 concat_dim: 1 }", [(2, 3, 4)], "not both")
