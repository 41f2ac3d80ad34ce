"""EuclideanLoss."""
import numpy as np
from layer_checker import check, randn, refused


def loss(a, b):
    return np.array(sum((x - y) ** 2 for x, y in zip(a.ravel(), b.ravel(), strict=True)) / (2 * len(a)))


def test_euclidean_loss():
    check("type: 'EuclideanLoss'", [randn(3, 2, 4), randn(3, 2, 4, seed=1)], loss)


def test_only_the_number_of_values_must_agree():
    check("type: 'EuclideanLoss'", [randn(4, 6), randn(4, 2, 3)], loss)


def test_bad_input():
    refused("type: 'EuclideanLoss'", [(3, 4), (4, 3)], "first dimension")
    refused("type: 'EuclideanLoss'", [(3, 4), (3, 5)], "same number of values")
    refused("type: 'EuclideanLoss'", [(3, 4)], "2 bottom")
    refused("type: 'EuclideanLoss'", [(), ()], "first dimension")
