"""AbsVal."""
import numpy as np
import pytest
from layer_checker import Runner, check, distinct, refused


@pytest.mark.parametrize("settings, formula", [
    ("", lambda x: np.where(x > 0, x, -x)),
])
def test_formula(settings, formula):
    check("type: 'AbsVal' " + settings, [distinct(2, 3, 4, 5)], formula)


def test_not_in_place_and_flat_at_zero():
    runner = Runner("type: 'AbsVal'", [np.zeros((2, 3))])
    assert not runner.layer.runs_in_place
    runner.forward()
    assert (runner.backward([np.ones((2, 3))], [True])[0] == 0).all()


def test_bad_input():
    refused("type: 'AbsVal'", [(2, 3), (2, 3)], "takes 1 bottom blob")
    refused("type: 'AbsVal'", [(2, 3)], "takes 1 top blob", num_tops=2)
