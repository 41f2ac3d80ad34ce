"""Axpy."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused


def axpy(a, x, y):
    top = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        top[place] = a[place[:2]].item() * x[place] + y[place]
    return top


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (4, 3, 2), (2, 3)])
def test_values_and_gradients(shape):
    check("type: 'Axpy'", [randn(*shape[:2], seed=2), randn(*shape), randn(*shape, seed=1)], axpy)


def test_factors_from_global_pooling():
    """Factors of shape (N, C, 1, 1) compared with (N, C): the checker rejects their equal dimensions."""
    a, x, y = randn(2, 3), randn(2, 3, 4, 5), randn(2, 3, 4, 5, seed=1)
    flat, tall = Runner("type: 'Axpy'", [a, x, y]), Runner("type: 'Axpy'", [a[:, :, None, None], x, y])
    np.testing.assert_array_equal(tall.forward()[0], flat.forward()[0])
    diffs = [runner.backward([x], [True] * 3) for runner in (flat, tall)]
    np.testing.assert_array_equal(diffs[1][0][:, :, 0, 0], diffs[0][0])


def test_bad_input():
    refused("type: 'Axpy'", [(2, 4), (2, 3, 5), (2, 3, 5)], r"factors of shape \(N, C\)")
    refused("type: 'Axpy'", [(2, 3, 5), (2, 3, 5), (2, 3, 5)], r"found \(2, 3, 5\) and \(2, 3, 5\)")
    refused("type: 'Axpy'", [(2, 3), (2, 3, 5), (2, 3, 4)], "x and y must have one shape")
    refused("type: 'Axpy'", [(2, 3), (2, 3, 5)], "3 bottom")


def test_no_items():
    runner = Runner("type: 'Axpy'", [np.zeros((0, 3)), np.zeros((0, 3, 4)), np.zeros((0, 3, 4))])
    assert runner.forward()[0].shape == (0, 3, 4)
    assert [diff.shape for diff in runner.backward([np.zeros((0, 3, 4))], [True] * 3)] == [(0, 3), (0, 3, 4), (0, 3, 4)]
