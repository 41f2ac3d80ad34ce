"""Swish."""
import numpy as np
import pytest
from layer_checker import check, randn, refused


@pytest.mark.parametrize("settings, formula", [
    ("", lambda x: x / (1 + np.exp(-x))),
    ("swish_param { beta: -0.75 }", lambda x: x / (1 + np.exp(0.75 * x))),
])
def test_formula(settings, formula):
    check("type: 'Swish' " + settings, [randn(2, 3, 4, 5)], formula, in_place=True)


def test_bad_input():
    refused("type: 'Swish'", [(2, 3), (2, 3)], "takes 1 bottom blob")
    refused("type: 'Swish'", [(2, 3)], "takes 1 top blob", num_tops=2)
