"""Eltwise: sums with coefficients, products, maxima and their ties."""
import numpy as np
import pytest
from layer_checker import Runner, check, distinct, randn, refused

BOTTOMS = [randn(2, 3, 4), randn(2, 3, 4, seed=1), randn(2, 3, 4, seed=2)]


@pytest.mark.parametrize("settings, oracle, in_place", [
    ("", lambda a, b, c: a + b + c, True),
    ("coeff: 1 coeff: -0.5 coeff: 2", lambda a, b, c: a - 0.5 * b + 2 * c, True),
    ("coeff: 3 coeff: 1 coeff: 1", lambda a, b, c: 3 * a + b + c, True),
    ("operation: PROD", lambda a, b, c: a * b * c, True),
    ("operation: PROD stable_prod_grad: false", lambda a, b, c: a * b * c, True),
])
def test_sums_and_products(settings, oracle, in_place):
    check(f"type: 'Eltwise' eltwise_param {{ {settings} }}", BOTTOMS, oracle, in_place=in_place)


def test_maximum():
    values = distinct(3, 2, 4, 5)
    for coefficients in ("", "coeff: 2 coeff: 3 coeff: 4"):
        check(f"type: 'Eltwise' eltwise_param {{ operation: MAX {coefficients} }}", list(values),
              lambda *x: np.max(x, axis=0), in_place=True)


def test_ties_of_a_maximum():
    """Bottom 1 wins ties with bottom 0; later ones must be strictly larger."""
    bottoms = [np.array([[1.0, 1, 2, 1]]), np.array([[1.0, 0, 2, 0]]), np.array([[1.0, 1, 0, 2]])]
    runner = Runner("type: 'Eltwise' eltwise_param { operation: MAX }", bottoms)
    runner.forward()
    found = runner.backward([np.ones((1, 4))], [True] * 3)
    assert [diff[0].tolist() for diff in found] == [[0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("settings", ["", "coeff: 3 coeff: 1 coeff: 2", "operation: MAX", "operation: PROD",
                                      "operation: PROD stable_prod_grad: false"])
def test_gradients_in_place_are_those_of_separate_blobs_even_if_they_are_read(settings):
    text = f"type: 'Eltwise' eltwise_param {{ {settings} }}"
    apart, within = Runner(text, list(distinct(3, 2, 4, 5))), Runner(text, list(distinct(3, 2, 4, 5)), in_place=True)
    apart.forward()
    wanted = apart.backward([randn(2, 4, 5)], [True] * 3)
    for _ in range(2):      # in the second pass the gradients have NumPy views
        within.set_bottoms(list(distinct(3, 2, 4, 5)))
        within.forward()
        for found, expected in zip(within.backward([randn(2, 4, 5)], [True] * 3), wanted, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert all(blob.diff is not None for blob in within.bottom)


def test_bad_input():
    shapes = [(2, 3), (2, 3)]
    refused("type: 'Eltwise'", [(2, 3), (3, 2)], "one shape")
    refused("type: 'Eltwise'", [(2, 3)], "at least 2 bottom")
    refused("type: 'Eltwise' eltwise_param { coeff: 1 }", shapes, "one for each of 2 bottoms")
    refused("type: 'Eltwise' eltwise_param { operation: PROD coeff: 1 coeff: 1 }", shapes, "coeff is for SUM")
