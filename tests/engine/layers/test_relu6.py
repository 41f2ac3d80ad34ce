"""ReLU6."""
import numpy as np
import pytest
from layer_checker import Runner, check, distinct, refused


@pytest.mark.parametrize("settings, slope, most", [
    ("", 0, 6), ("relu6_param { n: 1.25 }", 0, 1.25), ("relu6_param { negative_slope: 0.25 }", 0.25, 6)])
def test_values(settings, slope, most):
    check(f"type: 'ReLU6' {settings}", [2 * distinct(2, 3, 4, 5)],
          lambda x: np.minimum(np.where(x > 0, x, slope * x), most), in_place=True)


def test_slopes_at_the_ends():
    for settings, at_zero in (("", 0), ("relu6_param { negative_slope: 0.5 }", 0.5)):
        runner = Runner(f"type: 'ReLU6' {settings}", [np.array([[-1, 0, 1, 6, 7.0]])])
        assert runner.forward()[0].tolist() == [[-at_zero, 0, 1, 6, 6]]
        assert runner.backward([np.full((1, 5), 2.0)], [True])[0].tolist() == [[2 * at_zero, 2 * at_zero, 2, 0, 0]]


def test_bad_parameters():
    refused("type: 'ReLU6' relu6_param { n: 0 }", [(2, 3)], "n must be above 0, found 0")
    refused("type: 'ReLU6' relu6_param { n: nan }", [(2, 3)], "n must be above 0, found nan")
    refused("type: 'ReLU6' relu6_param { negative_slope: -1 }", [(2, 3)], "negative_slope must be at least 0, found -1")
