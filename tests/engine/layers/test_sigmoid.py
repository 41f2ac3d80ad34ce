"""Sigmoid."""
import numpy as np
import pytest
from layer_checker import check, randn, refused


@pytest.mark.parametrize("settings, formula", [
    ("", lambda x: 1 / (1 + np.exp(-x))),
])
def test_formula(settings, formula):
    check("type: 'Sigmoid' " + settings, [randn(2, 3, 4, 5)], formula, in_place=True)


def test_bad_input():
    refused("type: 'Sigmoid'", [(2, 3), (2, 3)], "takes 1 bottom blob")
    refused("type: 'Sigmoid'", [(2, 3)], "takes 1 top blob", num_tops=2)
