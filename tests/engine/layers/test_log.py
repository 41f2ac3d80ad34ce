"""Log."""
import numpy as np
import pytest
from layer_checker import check, randn, refused


@pytest.mark.parametrize("settings, formula", [
    ("", lambda x: np.log(x)),
    ("log_param { base: 10 scale: 2 shift: 1.5 }", lambda x: np.log10(2 * x + 1.5)),
])
def test_formula(settings, formula):
    check("type: 'Log' " + settings, [np.abs(randn(2, 3, 4, 5)) + 0.3], formula, in_place=True)


def test_bad_base():
    refused("type: 'Log' log_param { base: 1 }", [(2, 3)], "base must be positive and not 1")
