"""Power, with the cases that Caffe computes separately."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused


@pytest.mark.parametrize("power, scale, shift", [
    (1.75, 0.625, 2.5), (2, -1.5, 0.5), (1, 3, -1), (0, 2, 1), (3, 0, 1.5), (3, 0.5, 0), (1, 1, 0)])
def test_power(power, scale, shift):
    x = np.abs(randn(2, 3, 4)) + 0.1 if power == 1.75 else randn(2, 3, 4)
    check(f"type: 'Power' power_param {{ power: {power} scale: {scale} shift: {shift} }}", [x],
          lambda x: (shift + scale * x) ** power, in_place=True)


@pytest.mark.parametrize("power, shift, value", [(0.5, -1, np.nan), (-1, 0, np.inf), (0, -1, 1), (-2, -2, 0.25)])
def test_constants_are_those_of_c(power, shift, value):
    runner = Runner(f"type: 'Power' power_param {{ power: {power} scale: 0 shift: {shift} }}", [np.zeros((1, 2))])
    np.testing.assert_array_equal(runner.forward()[0], [[value, value]])


def test_the_gradient_divides_by_the_base():
    runner = Runner("type: 'Power' power_param { power: 3 }", [np.zeros((1, 2))])
    runner.forward()
    assert np.isnan(runner.backward([np.ones((1, 2))], [True])[0]).all()


def test_bad_input():
    refused("type: 'Power'", [(2, 3), (2, 3)], "takes 1 bottom blob")
    refused("type: 'Power'", [(2, 3)], "takes 1 top blob", num_tops=2)
