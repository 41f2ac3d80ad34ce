"""ReLU."""
import numpy as np
import pytest
from layer_checker import Runner, check, distinct, refused


@pytest.mark.parametrize("settings, formula", [
    ("", lambda x: np.maximum(x, 0)),
    ("relu_param { negative_slope: -0.5 }", lambda x: np.where(x > 0, x, -0.5 * x)),
    ("relu_param { negative_slope: 0.25 }", lambda x: np.where(x > 0, x, 0.25 * x)),
])
def test_formula(settings, formula):
    check("type: 'ReLU' " + settings, [distinct(2, 3, 4, 5)], formula, in_place=True)


def test_at_zero_the_slope_is_negative_slope():
    for slope in (0, 0.25):
        runner = Runner(f"type: 'ReLU' relu_param {{ negative_slope: {slope} }}", [np.zeros((2, 3))])
        runner.forward()
        np.testing.assert_allclose(runner.backward([np.ones((2, 3))], [True])[0], slope)


def test_the_gradient_follows_the_bottom_as_it_is_during_backward():
    runner = Runner("type: 'ReLU'", [np.array([[1.0, -1.0, 2.0]])])
    runner.forward()
    runner.bottom[0].data[0] = [-1, 1, 2]
    np.testing.assert_allclose(runner.backward([np.ones((1, 3))], [True])[0], [[0, 1, 1]])


def test_bad_input():
    refused("type: 'ReLU'", [(2, 3), (2, 3)], "takes 1 bottom blob")
    refused("type: 'ReLU'", [(2, 3)], "takes 1 top blob", num_tops=2)
