"""TanH."""
import numpy as np
import pytest
from layer_checker import check, randn, refused


@pytest.mark.parametrize("settings, formula", [
    ("", lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x))),
])
def test_formula(settings, formula):
    check("type: 'TanH' " + settings, [randn(2, 3, 4, 5)], formula, in_place=True)


def test_bad_input():
    refused("type: 'TanH'", [(2, 3), (2, 3)], "takes 1 bottom blob")
    refused("type: 'TanH'", [(2, 3)], "takes 1 top blob", num_tops=2)
