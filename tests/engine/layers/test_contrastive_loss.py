"""ContrastiveLoss."""
import math

import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused

SIMILAR = np.array([1.0, 0, 0, 1, 0, 0])


def loss(a, b, similar, margin, legacy):
    total = 0.0
    for x, y, same in zip(a, b, similar, strict=True):
        squares = sum((p - q) ** 2 for p, q in zip(x, y, strict=True))
        if same:
            total += squares
        else:
            total += max(margin - squares, 0) if legacy else max(margin - math.sqrt(squares), 0) ** 2
    return np.array(total / (2 * len(a)))


def test_legacy():
    check("type: 'ContrastiveLoss' contrastive_loss_param { margin: 4 legacy_version: true }",
          [randn(6, 3), randn(6, 3, seed=1), SIMILAR], lambda *x: loss(*x, 4, True), learns=[0, 1])


def test_values():
    check("type: 'ContrastiveLoss' contrastive_loss_param { margin: 2.5 }",
          [randn(6, 3), randn(6, 3, seed=1), SIMILAR], lambda *x: loss(*x, 2.5, False), gradient=False)


@pytest.mark.parametrize("far, slope", [(0.5, -(1 - 0.5) / (0.5 + 1e-4)), (2.0, 0.0)])
def test_gradient_of_a_dissimilar_pair(far, slope):
    """(margin - d) / (d + 1e-4), not the exact derivative."""
    runner = Runner("type: 'ContrastiveLoss'", [np.array([[far, 0]]), np.zeros((1, 2)), np.zeros(1)])
    runner.forward()
    found = runner.backward([np.array(3.0)], [True, True, False])
    np.testing.assert_allclose(found[0], [[3 * slope * far, 0]], rtol=1e-5)
    np.testing.assert_allclose(found[1], -found[0])


def test_bad_input():
    refused("type: 'ContrastiveLoss'", [(2, 3), (3, 3), (2,)], "one shape")
    refused("type: 'ContrastiveLoss'", [(2, 3, 4, 1), (2, 3, 4, 1), (2,)], "one shape")
    refused("type: 'ContrastiveLoss'", [(2, 3), (2, 3), (3,)], "expected 2 similarities, found 3")
