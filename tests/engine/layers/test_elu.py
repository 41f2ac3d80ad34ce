"""ELU."""
import numpy as np
import pytest
from layer_checker import Runner, check, distinct, refused


@pytest.mark.parametrize("settings, formula", [
    ("", lambda x: np.where(x > 0, x, np.exp(x) - 1)),
    ("elu_param { alpha: -0.5 }", lambda x: np.where(x > 0, x, -0.5 * (np.exp(x) - 1))),
    ("elu_param { alpha: 0.5 }", lambda x: np.where(x > 0, x, 0.5 * (np.exp(x) - 1))),
])
def test_formula(settings, formula):
    check("type: 'ELU' " + settings, [distinct(2, 3, 4, 5)], formula, in_place=True)


def test_in_place_the_gradient_is_the_derivative():
    runner = Runner("type: 'ELU'", [np.array([[-1.0, 2.0]])], in_place=True)
    top = runner.forward()[0]
    np.testing.assert_allclose(runner.backward([np.ones((1, 2))], [True])[0], [[top[0, 0] + 1, 1]], rtol=1e-5)


def test_bad_input():
    refused("type: 'ELU'", [(2, 3), (2, 3)], "takes 1 bottom blob")
    refused("type: 'ELU'", [(2, 3)], "takes 1 top blob", num_tops=2)
