"""Softmax."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused


def softmax(x, axis):
    top = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        line = list(place)
        line[axis] = slice(None)
        top[place] = np.exp(x[place]) / sum(np.exp(value) for value in x[tuple(line)])
    return top


@pytest.mark.parametrize("axis", [1, 2, -1, 0])
def test_softmax(axis):
    check(f"type: 'Softmax' softmax_param {{ axis: {axis} }}", [randn(2, 5, 3, 4)], lambda x: softmax(x, axis),
          in_place=True)


def test_large_scores_do_not_overflow():
    values = Runner("type: 'Softmax'", [np.array([[1000.0, 999.0, -1000.0]])]).forward()[0]
    np.testing.assert_allclose(values, softmax(np.array([[1.0, 0.0, -1999.0]]), 1), atol=1e-7)


def test_the_gradient_is_written_even_if_not_requested():
    runner = Runner("type: 'Softmax'", [randn(2, 3)])
    runner.forward()
    runner.backward([randn(2, 3, seed=1)], [False])
    assert runner.bottom[0].diff.all()


def test_bad_axis():
    refused("type: 'Softmax' softmax_param { axis: 2 }", [(2, 3)], "axis 2 is outside a blob of 2 axes")
