"""MultinomialLogisticLoss."""
import math

import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused


def loss(prob, labels):
    return np.array(-sum(math.log(max(row[int(k)], 1e-20)) for row, k in zip(prob, labels, strict=True)) / len(prob))


def test_multinomial_logistic_loss():
    check("type: 'MultinomialLogisticLoss'", [np.abs(randn(5, 4)) + 0.1, np.array([0.0, 3, 1, 1, 2])], loss, learns=[0])


def test_the_probability_is_floored():
    runner = Runner("type: 'MultinomialLogisticLoss'", [np.array([[0.0, 1]]), np.zeros(1)])
    np.testing.assert_allclose(runner.forward()[0], -math.log(1e-20), rtol=1e-6)
    np.testing.assert_allclose(runner.backward([np.array(1.0)], [True, False])[0], [[-1e20, 0]], rtol=1e-5)


def test_bad_label():
    runner = Runner("type: 'MultinomialLogisticLoss'", [np.ones((1, 2)), np.array([2.0])])
    with pytest.raises(ValueError, match=r"labels must be in 0..1, found 2"):
        runner.forward()


def test_bad_shapes():
    refused("type: 'MultinomialLogisticLoss'", [(2, 4), (2, 3)], "expected 2 labels, found 6")


def test_probabilities_of_one_class_without_an_axis_for_it():
    check("type: 'MultinomialLogisticLoss'", [np.array([0.5, 0.25, 1]), np.zeros(3)],
          lambda x, y: loss(x[:, None], y), learns=[0])
