"""Fillers: constants, distributions and their moments."""
import math

import numpy as np
import pytest
import torch

from caffe.engine import device
from caffe.engine.blob import Blob
from caffe.engine.fillers import fill
from caffe.proto import caffe_pb2


def filled(*shape, **settings):
    blob = Blob(*shape)
    fill(blob, caffe_pb2.FillerParameter(**settings))
    return blob.data.copy()


@pytest.fixture(autouse=True)
def seeded():
    device.set_random_seed(1)


def test_constant():
    assert (filled(2, 3, value=1.5) == 1.5).all() and (filled() == 0).all()


def test_uniform():
    values = filled(40, 50, type="uniform", min=-2, max=4)
    assert -2 <= values.min() < -1.95 and 3.95 < values.max() <= 4
    assert abs(values.mean() - 1) < 0.15


def test_gaussian():
    values = filled(40, 50, type="gaussian", mean=3, std=0.5)
    assert abs(values.mean() - 3) < 0.04 and abs(values.std() - 0.5) < 0.03


def test_sparse_gaussian_keeps_a_share_of_the_first_dimension():
    values = filled(40, 50, type="gaussian", sparse=10)
    assert abs((values != 0).mean() - 10 / 40) < 0.03


def test_positive_unitball():
    values = filled(3, 4, 5, type="positive_unitball")
    assert values.min() >= 0
    np.testing.assert_allclose(values.sum(axis=(1, 2)), 1, rtol=1e-5)


FANS = [("FAN_IN", 15 * 4), ("FAN_OUT", 40 * 4), ("AVERAGE", (15 + 40) * 2)]


@pytest.mark.parametrize("norm, fan", FANS)
def test_xavier(norm, fan):
    values = filled(40, 15, 2, 2, type="xavier", variance_norm=norm)
    bound = math.sqrt(3 / fan)
    assert 0.98 * bound < np.abs(values).max() <= bound
    assert abs(values.var() * fan - 1) < 0.1


@pytest.mark.parametrize("norm, fan", FANS)
def test_msra(norm, fan):
    assert abs(filled(40, 15, 2, 2, type="msra", variance_norm=norm).var() * fan / 2 - 1) < 0.15


def test_fans_of_one_axis():
    assert np.abs(filled(1000, type="xavier")).max() <= math.sqrt(3)
    assert np.abs(filled(1000, type="xavier", variance_norm="FAN_OUT")).max() <= math.sqrt(3 / 1000)


@pytest.mark.parametrize("size, line", [(1, [1]), (2, [0.5, 0.5]), (3, [0.5, 1, 0.5]), (4, [.25, .75, .75, .25]),
                                        (6, [1 / 6, .5, 5 / 6, 5 / 6, .5, 1 / 6])])
def test_bilinear_by_hand(size, line):
    np.testing.assert_allclose(filled(1, 1, size, size, type="bilinear")[0, 0], np.outer(line, line), rtol=1e-6)


@pytest.mark.parametrize("size", [3, 4, 5, 6])
def test_bilinear(size):
    values = filled(2, 1, size, size, type="bilinear")
    factor = math.ceil(size / 2)
    center = (size - 1) / (2 * factor)
    for n, c, y, x in np.ndindex(values.shape):
        wanted = (1 - abs(x / factor - center)) * (1 - abs(y / factor - center))
        assert math.isclose(values[n, c, y, x], wanted, rel_tol=1e-6)


def test_fillers_depend_on_the_seed_and_support_float64():
    first = filled(3, 4, type="gaussian")
    assert (filled(3, 4, type="gaussian") != first).all()
    device.set_random_seed(1)
    assert (filled(3, 4, type="gaussian") == first).all()
    with device.use_float_type(torch.float64):
        assert filled(3, 4, type="uniform").dtype == np.float64


@pytest.mark.parametrize("shape, settings, match", [
    ((2, 3), {"type": "Xavier"}, "unknown filler type 'Xavier'.*xavier"),
    ((2, 3), {"type": "uniform", "sparse": 1}, "sparse"),
    ((2, 3), {"type": "gaussian", "sparse": 3}, "sparse 3 is more"),
    ((2, 3), {"type": "gaussian", "std": -1}, "std"),
    ((2, 3), {"type": "gaussian", "std": 0}, "std"),
    ((2, 0), {"type": "constant"}, "nothing to fill"),
    ((2, 3), {"type": "uniform", "min": 2}, "min 2.0 is above max 1.0"),
    ((2, 3), {"type": "bilinear"}, "4 axes"),
    ((1, 1, 2, 3), {"type": "bilinear"}, "square"),
    ((), {"type": "xavier"}, "shape"),
    ((), {"type": "positive_unitball"}, "at least one axis"),
])
def test_bad_parameters(shape, settings, match):
    with pytest.raises(ValueError, match=match):
        filled(*shape, **settings)
