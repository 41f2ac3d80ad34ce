"""LSTMUnit."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def unit(cell, gates, cont):
    i, f, o, g = np.split(gates, 4, axis=2)
    new = cont[..., None] * sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    return new, sigmoid(o) * np.tanh(new)


@pytest.mark.parametrize("cont", [[1, 0, 1], [1, 1, 1]])
def test_lstm_unit(cont):
    bottoms = [randn(1, 3, 4), randn(1, 3, 16), np.array([cont], float)]
    check("type: 'LSTMUnit'", bottoms, unit, num_tops=2, learns=[0, 1],
          other=[randn(1, 2, 5), randn(1, 2, 20), np.array([[1.0, 0]])])


def test_the_slope_of_a_gate_that_is_half_open():
    """For cont between 0 and 1, the derivative of the forget gate y is y (1 - y), as in Caffe."""
    cell, gates = np.array([[[2.0]]]), np.array([[[0.0, 0.3, 0.0, 0.0]]])
    runner = Runner("type: 'LSTMUnit'", [cell, gates, np.array([[0.5]])], num_tops=2)
    runner.forward()
    found = runner.backward([np.ones((1, 1, 1)), np.zeros((1, 1, 1))], [True, True, False])
    gate = 0.5 * sigmoid(0.3)
    np.testing.assert_allclose(found[1][0, 0, 1], 2 * gate * (1 - gate), rtol=1e-6)
    np.testing.assert_allclose(found[0][0, 0, 0], gate, rtol=1e-6)


@pytest.mark.parametrize("asked", [[True, False], [False, True], [False, False]])
def test_both_gradients_are_written_if_one_is_requested(asked):
    runner = Runner("type: 'LSTMUnit'", [randn(1, 3, 4), randn(1, 3, 16), np.ones((1, 3))], num_tops=2)
    runner.forward()
    runner.backward([randn(1, 3, 4), randn(1, 3, 4, seed=1)], [*asked, False])
    assert [blob.diff.all() for blob in runner.bottom[:2]] == [any(asked)] * 2


def test_bad_input():
    refused("type: 'LSTMUnit'", [(1, 3, 4), (1, 3, 12), (1, 3)], r"\(1, N, D\) and \(1, N, 4 D\)", num_tops=2)
    refused("type: 'LSTMUnit'", [(1, 3, 4), (1, 3, 16), (3, 1)], "expected cont of shape", num_tops=2)
