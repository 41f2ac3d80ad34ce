"""Reshape."""
import numpy as np
import pytest
import torch
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


@pytest.mark.parametrize("settings, shape", [
    ("shape { dim: 0 dim: -1 dim: 2 }", (2, 30, 2)),
    ("shape { dim: 0 dim: 0 dim: 20 }", (2, 3, 20)),
    ("shape { dim: -1 }", (120,)),
    ("axis: 1 num_axes: 2 shape { dim: 6 dim: 2 }", (2, 6, 2, 5)),
    ("axis: 1 shape { dim: -1 }", (2, 60)),
    ("axis: -1 shape { dim: 1 dim: 1 }", (2, 3, 4, 5, 1, 1)),
    ("axis: -2 shape { dim: 5 }", (2, 3, 4, 5)),
    ("axis: 1 num_axes: 0 shape { dim: 1 }", (2, 1, 3, 4, 5)),
    ("axis: -3 num_axes: 1 shape { dim: 2 dim: -1 }", (2, 3, 2, 2, 5)),
])
def test_shapes(settings, shape):
    assert drive(f"type: 'Reshape' reshape_param {{ {settings} }}", 2, 3, 4, 5) == shape


def test_rpn_scores_of_each_anchor():
    text = "type: 'Reshape' reshape_param { shape { dim: 0 dim: 2 dim: -1 dim: 0 } }"
    assert drive(text, 1, 6, 4, 5) == (1, 2, 12, 5)


def test_channels_last_values_keep_their_order():
    runner = Runner("type: 'Reshape' reshape_param { shape { dim: -1 } }", [randn(2, 3, 4, 5)])
    runner.set_bottoms([randn(2, 3, 4, 5)], torch.channels_last)
    np.testing.assert_allclose(runner.forward()[0], randn(2, 3, 4, 5).ravel(), rtol=1e-6)


def test_another_size():
    runner = Runner("type: 'Reshape' reshape_param { shape { dim: 0 dim: -1 } }", [randn(2, 3, 4)])
    runner.set_bottoms([randn(5, 3, 4)])
    assert runner.forward()[0].shape == (5, 12)


@pytest.mark.parametrize("settings, match", [
    ("shape { dim: 7 dim: 2 }", "has 14 values, the bottom of shape .* has 120"),
    ("shape { dim: -1 dim: 7 }", "does not divide"),
    ("shape { dim: -1 dim: -1 }", "-1 once"),
    ("shape { dim: -2 }", "-1 once"),
    ("shape { dim: 2 dim: 3 dim: 4 dim: 5 dim: 0 }", "copies axis 4"),
    ("axis: 5 shape { dim: 1 }", "axis 5"),
    ("axis: -6 shape { dim: 1 }", "axis -6"),
    ("axis: 2 num_axes: 3 shape { dim: 1 }", "num_axes 3"),
])
def test_bad_shapes(settings, match):
    refused(f"type: 'Reshape' reshape_param {{ {settings} }}", [(2, 3, 4, 5)], match)
