"""Permute."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused


def permuted(x, order):
    top = np.zeros([x.shape[axis] for axis in order])
    for place in np.ndindex(x.shape):
        top[tuple(place[axis] for axis in order)] = x[place]
    return top


@pytest.mark.parametrize("shape, given, order", [
    ((2, 3, 4, 5), [0, 2, 3, 1], [0, 2, 3, 1]),         # as in SSD: channels last
    ((2, 3, 4, 5), [3, 1], [3, 1, 0, 2]),               # the remaining axes follow
    ((3, 4, 2), [2, 0, 1], [2, 0, 1]),
    ((4, 3), [1], [1, 0]),
])
def test_values_and_gradients(shape, given, order):
    text = " ".join(f"order: {axis}" for axis in given)
    check(f"type: 'Permute' permute_param {{ {text} }}", [randn(*shape)], lambda x: permuted(x, order))


def test_the_old_order_shares_values_and_gradient():
    runner = Runner("type: 'Permute' permute_param { order: 0 order: 1 }", [randn(2, 3, 4)])
    np.testing.assert_array_equal(runner.forward()[0], randn(2, 3, 4).astype(np.float32))
    assert runner.top[0].shares_data_with(runner.bottom[0])
    found = runner.backward([randn(2, 3, 4, seed=1)], [True])
    np.testing.assert_array_equal(found[0], randn(2, 3, 4, seed=1).astype(np.float32))


def test_the_top_has_its_own_memory():
    runner = Runner("type: 'Permute' permute_param { order: 1 }", [randn(1, 4)])
    top, = runner.forward()
    runner.bottom[0].data[...] = 0
    np.testing.assert_array_equal(runner.top[0].data, top)


def test_bad_input():
    refused("type: 'Permute' permute_param { order: 1 order: 1 }", [(2, 3)], r"each once: found \[1, 1\]")
    refused("type: 'Permute' permute_param { order: 2 }", [(2, 3)], r"bottom of shape \(2, 3\)")
