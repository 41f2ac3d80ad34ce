"""Flatten."""
import numpy as np
import pytest
from layer_checker import Runner, randn, refused


def drive(text, *shape):
    """The shape of a layer's top, after checking that it shares values and gradient with the bottom."""
    runner = Runner(text, [randn(*shape)])
    found = runner.forward()[0]
    assert (found.ravel() == randn(*shape).astype(np.float32).ravel()).all()
    runner.top[0].diff[...] = found
    runner.layer.backward(runner.top, [True], runner.bottom)
    assert (runner.bottom[0].diff.ravel() == found.ravel()).all()
    return found.shape


@pytest.mark.parametrize("settings, shape", [("", (2, 60)), ("axis: -3 end_axis: 2", (2, 12, 5)), ("axis: 0", (120,)),
                                             ("axis: 2 end_axis: 2", (2, 3, 4, 5))])
def test_shapes(settings, shape):
    assert drive(f"type: 'Flatten' flatten_param {{ {settings} }}", 2, 3, 4, 5) == shape


def test_bad_input():
    refused("type: 'Flatten' flatten_param { axis: 2 end_axis: 1 }", [(2, 3, 4)], "axis 2 is after end_axis 1")
    refused("type: 'Flatten' flatten_param { end_axis: 3 }", [(2, 3, 4)], "end_axis 3")
