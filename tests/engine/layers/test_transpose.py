"""Transpose."""
import numpy as np
import pytest
from layer_checker import check, randn, refused


def transposed(x, dim):
    top = np.zeros([x.shape[axis] for axis in dim])
    for place in np.ndindex(x.shape):
        top[tuple(place[axis] for axis in dim)] = x[place]
    return top


@pytest.mark.parametrize("shape, dim", [((2, 3, 1, 5), [3, 2, 0, 1]), ((3, 4, 2), [2, 0, 1])])
def test_values_and_gradients(shape, dim):
    text = " ".join(f"dim: {axis}" for axis in dim)
    check(f"type: 'Transpose' transpose_param {{ {text} }}", [randn(*shape)], lambda x: transposed(x, dim))


@pytest.mark.parametrize("text", ["", "dim: 0", "dim: 0 dim: 0", "dim: 0 dim: 2", "dim: 1 dim: -1"])
def test_bad_input(text):
    refused(f"type: 'Transpose' transpose_param {{ {text} }}", [(2, 3)],
            r"dim must name every axis of the bottom, each once: found \[.*\] for a bottom of shape \(2, 3\)")
