"""Exp."""
import numpy as np
import pytest
from layer_checker import check, randn, refused


@pytest.mark.parametrize("settings, formula", [
    ("", lambda x: np.e ** x),
    ("exp_param { base: 2 scale: 0.75 shift: -1.25 }", lambda x: 2 ** (0.75 * x - 1.25)),
])
def test_formula(settings, formula):
    check("type: 'Exp' " + settings, [randn(2, 3, 4, 5)], formula, in_place=True)


def test_bad_base():
    refused("type: 'Exp' exp_param { base: -2 }", [(2, 3)], "base must be positive, or -1 for e, found -2")
