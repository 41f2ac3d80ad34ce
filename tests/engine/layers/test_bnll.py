"""BNLL."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused


@pytest.mark.parametrize("settings, formula", [
    ("", lambda x: np.log(1 + np.exp(x))),
])
def test_formula(settings, formula):
    check("type: 'BNLL' " + settings, [randn(2, 3, 4, 5)], formula, in_place=True)


def test_no_overflow():
    runner = Runner("type: 'BNLL'", [np.array([[-200.0, 0.0, 200.0]])])
    np.testing.assert_allclose(runner.forward()[0], [[0, np.log(2), 200]], rtol=1e-6)
    np.testing.assert_allclose(runner.backward([np.ones((1, 3))], [True])[0], [[0, 0.5, 1]], rtol=1e-6)


def test_in_place_the_gradient_is_the_derivative():
    x = randn(2, 3)
    runner = Runner("type: 'BNLL'", [x], in_place=True)
    runner.forward()
    np.testing.assert_allclose(runner.backward([np.ones((2, 3))], [True])[0], 1 / (1 + np.exp(-x)), rtol=1e-5)


def test_bad_input():
    refused("type: 'BNLL'", [(2, 3), (2, 3)], "takes 1 bottom blob")
    refused("type: 'BNLL'", [(2, 3)], "takes 1 top blob", num_tops=2)
