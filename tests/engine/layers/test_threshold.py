"""Threshold."""
import numpy as np
from layer_checker import Runner, check, randn, refused


def test_threshold():
    check("type: 'Threshold' threshold_param { threshold: 0.3 }", [randn(2, 3, 4)], lambda x: np.where(x > 0.3, 1.0, 0),
          gradient=False, in_place=True)


def test_strictly_greater_and_without_gradient():
    runner = Runner("type: 'Threshold'", [np.array([[-1.0, 0.0, 1.0]])])
    assert runner.forward()[0].tolist() == [[0, 0, 1]]
    assert runner.layer.no_backward_to == (0,)


def test_bad_input():
    refused("type: 'Threshold'", [(2, 3), (2, 3)], "takes 1 bottom blob")
    refused("type: 'Threshold'", [(2, 3)], "takes 1 top blob", num_tops=2)
