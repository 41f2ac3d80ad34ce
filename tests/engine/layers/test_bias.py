"""Bias."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused


def added(x, bias, axis):
    top = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        top[place] = x[place] + bias[place[axis:axis + bias.ndim]]
    return top


@pytest.mark.parametrize("settings, axis, shape", [("", 1, (3,)), ("axis: 1 num_axes: 2", 1, (3, 4)),
                                                   ("num_axes: 0", 0, ()), ("axis: 1 num_axes: -1", 1, (3, 4, 5))])
def test_learned(settings, axis, shape):
    check(f"type: 'Bias' bias_param {{ {settings} }}", [randn(2, 3, 4, 5)], lambda x, b: added(x, b, axis),
          blobs=[randn(*shape, seed=1)], in_place=True)


def test_two_bottoms():
    check("type: 'Bias' bias_param { axis: 2 }", [randn(2, 3, 4, 5), randn(4, 5)], lambda x, b: added(x, b, 2),
          other=[randn(3, 2, 4, 5), randn(4, 5)])


def test_bad_input():
    assert Runner("type: 'Bias'", [randn(2, 3)]).layer.blobs[0].data.tolist() == [0, 0, 0]
    refused("type: 'Bias' bias_param { num_axes: 2 }", [(2, 3)], "num_axes 2 exceed")
    refused("type: 'Bias'", [(2, 3), (2,)], "does not fit")
