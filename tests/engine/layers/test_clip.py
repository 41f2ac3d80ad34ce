"""Clip."""
import numpy as np
import pytest
from layer_checker import Runner, check, distinct, refused

from caffe.proto.prototxt import PrototxtError


def test_clip():
    check("type: 'Clip' clip_param { min: -0.53125 max: 1.03125 }", [distinct(2, 3, 4, 5)],
          lambda x: np.minimum(np.maximum(x, -0.53125), 1.03125), in_place=True, tolerance=1e-5)


def test_the_gradient_passes_at_the_bounds():
    runner = Runner("type: 'Clip' clip_param { min: -1 max: 2 }", [np.array([[-1.5, -1, 0, 2, 2.5]])])
    runner.forward()
    assert runner.backward([np.ones((1, 5))], [True])[0].tolist() == [[0, 1, 1, 1, 0]]


def test_bad_bounds():
    refused("type: 'Clip' clip_param { min: 2 max: 1 }", [(2, 3)], "min not above max")
    refused("type: 'Clip'", [(2, 3)], "needs min and max")
    with pytest.raises(PrototxtError):
        Runner("type: 'Clip' clip_param { min: 2 }", [np.zeros((2, 3))])
