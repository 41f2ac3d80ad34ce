"""Embed."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused

INDICES = np.array([[0.0, 5, 2], [5, 5, 1]])


def test_embed():
    check("type: 'Embed' embed_param { num_output: 4 input_dim: 6 }", [INDICES],
          lambda i, w, b: np.array([[w[int(k)] + b for k in row] for row in i]), blobs=[randn(6, 4), randn(4)],
          learns=[])


def test_without_bias():
    check("type: 'Embed' embed_param { num_output: 4 input_dim: 6 bias_term: false }", [INDICES],
          lambda i, w: np.array([[w[int(k)] for k in row] for row in i]), blobs=[randn(6, 4)], learns=[])


def test_bad_input():
    refused("type: 'Embed' embed_param { num_output: 4 }", [(2, 3)], "at least 1, found 4 and 0")
    for wrong in (-1.0, 6.0):
        runner = Runner("type: 'Embed' embed_param { num_output: 4 input_dim: 6 }", [np.array([0, wrong])])
        with pytest.raises(ValueError, match=rf"indices must be in 0..5, found {int(wrong)}"):
            runner.forward()
    assert runner.layer.no_backward_to == (0,)
