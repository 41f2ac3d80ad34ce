"""Reduction."""
import numpy as np
import pytest
from layer_checker import Runner, check, distinct, refused

ORACLES = {"SUM": np.sum, "ASUM": lambda line: np.abs(line).sum(), "SUMSQ": lambda line: (line ** 2).sum(),
           "MEAN": np.mean}


@pytest.mark.parametrize("operation", ORACLES)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_reduction(operation, axis):
    def oracle(x):
        kept = x.shape[:axis]
        lines = x.reshape(int(np.prod(kept)), -1)
        return 0.75 * np.array([ORACLES[operation](line) for line in lines]).reshape(kept)
    check(f"type: 'Reduction' reduction_param {{ operation: {operation} axis: {axis} coeff: 0.75 }}",
          [distinct(2, 3, 4)], oracle)


def test_asum_is_flat_at_zero():
    runner = Runner("type: 'Reduction' reduction_param { operation: ASUM }", [np.zeros((2, 3))])
    runner.forward()
    assert (runner.backward([np.array(1.0)], [True])[0] == 0).all()


def test_bad_axis():
    refused("type: 'Reduction' reduction_param { axis: 2 }", [(2, 3)], "axis 2")
