"""Eltwise: sums with coefficients, products, maxima and their ties."""
import numpy as np
import pytest
from layer_checker import Runner, check, distinct, randn, refused

BOTTOMS = [randn(2, 3, 4), randn(2, 3, 4, seed=1), randn(2, 3, 4, seed=2)]


@pytest.mark.parametrize("settings, oracle, in_place", [
    ("", lambda a, b, c: a + b + c, True),
    ("coeff: 1 coeff: -0.5 coeff: 2", lambda a, b, c: a - 0.5 * b + 2 * c, True),
    ("coeff: 3 coeff: 1 coeff: 1", lambda a, b, c: 3 * a + b + c, True),
    ("operation: PROD", lambda a, b, c: a * b * c, False),
    ("operation: PROD stable_prod_grad: false", lambda a, b, c: a * b * c, False),
])
def test_sums_and_products(settings, oracle, in_place):
    check(f"type: 'Eltwise' eltwise_param {{ {settings} }}", BOTTOMS, oracle, in_place=in_place)


def test_maximum():
    values = distinct(3, 2, 4, 5)
    for coefficients in ("", "coeff: 2 coeff: 3 coeff: 4"):
        check(f"type: 'Eltwise' eltwise_param {{ operation: MAX {coefficients} }}", list(values),
              lambda *x: np.max(x, axis=0), in_place=True)


def test_ties_of_a_maximum():
    """Bottom 1 wins against an equal bottom 0; a later one must be strictly larger."""
    bottoms = [np.array([[1.0, 1, 2, 1]]), np.array([[1.0, 0, 2, 0]]), np.array([[1.0, 1, 0, 2]])]
    runner = Runner("type: 'Eltwise' eltwise_param { operation: MAX }", bottoms)
    runner.forward()
    found = runner.backward([np.ones((1, 4))], [True] * 3)
    assert [diff[0].tolist() for diff in found] == [[0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]


def test_bad_input():
    shapes = [(2, 3), (2, 3)]
    refused("type: 'Eltwise'", [(2, 3), (3, 2)], "one shape")
    refused("type: 'Eltwise'", [(2, 3)], "at least 2 bottom")
    refused("type: 'Eltwise' eltwise_param { coeff: 1 }", shapes, "one for each of 2 bottoms")
    refused("type: 'Eltwise' eltwise_param { operation: PROD coeff: 1 coeff: 1 }", shapes, "coeff is for SUM")
    with pytest.raises(ValueError, match="PROD cannot work in place"):
        Runner("type: 'Eltwise' eltwise_param { operation: PROD }", BOTTOMS, in_place=True)
