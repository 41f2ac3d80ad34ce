"""Dropout: masks and scaling in TRAIN, or scaling in TEST."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused

from caffe.engine import device
from caffe.engine.layer import TRAIN


def test_test_is_the_identity():
    check("type: 'Dropout' dropout_param { dropout_ratio: 0.25 }", [randn(2, 3, 4, 5)], lambda x: x, in_place=True)


def test_without_scale_train_values_are_scaled_in_test():
    check("type: 'Dropout' dropout_param { dropout_ratio: 0.25 scale_train: false }", [randn(2, 3, 4, 5)],
          lambda x: 0.75 * x, in_place=True)


@pytest.mark.parametrize("scale_train", ["true", "false"])
@pytest.mark.parametrize("in_place", [False, True])
def test_in_train_some_values_are_dropped(scale_train, in_place):
    x = np.arange(1.0, 5001).reshape(5, 1000)
    runner = Runner(f"type: 'Dropout' dropout_param {{ dropout_ratio: 0.25 scale_train: {scale_train} }}", [x],
                    phase=TRAIN, in_place=in_place)
    found = runner.forward()[0]
    factor = 1 / 0.75 if scale_train == "true" else 1.0
    kept = found != 0
    assert 0.72 < kept.mean() < 0.78
    np.testing.assert_allclose(found[kept], factor * x[kept], rtol=1e-6)
    np.testing.assert_allclose(runner.backward([x], [True])[0], np.where(kept, factor * x, 0), rtol=1e-6)
    assert (runner.forward()[0] != 0).tolist() != kept.tolist()


def test_masks_follow_the_seed():
    masks = []
    for seed in (3, 3, 4):
        device.set_random_seed(seed)
        masks.append(Runner("type: 'Dropout'", [np.ones((4, 50))], phase=TRAIN).forward()[0].tolist())
    assert masks[0] == masks[1] != masks[2]


def test_the_top_does_not_alias_the_bottom():
    runner = Runner("type: 'Dropout'", [np.ones((2, 3))])
    runner.forward()
    runner.top[0].data[...] = 5
    assert (runner.bottom[0].data == 1).all()


def test_ratio_0_keeps_everything():
    runner = Runner("type: 'Dropout' dropout_param { dropout_ratio: 0 }", [randn(3, 4)], phase=TRAIN)
    np.testing.assert_allclose(runner.forward()[0], randn(3, 4), rtol=1e-6)
    np.testing.assert_allclose(runner.backward([randn(3, 4)], [True])[0], randn(3, 4), rtol=1e-6)


@pytest.mark.parametrize("ratio", [0.5, 0.1, 0.9375])
def test_values_are_dropped_one_by_one(ratio):
    """At the requested rate at every position, independently of the neighbours that share its random number."""
    device.set_random_seed(1)
    runner = Runner(f"type: 'Dropout' dropout_param {{ dropout_ratio: {ratio} }}", [np.ones((1001, 99))], phase=TRAIN)
    kept = runner.forward()[0] != 0
    tolerance = 4 * np.sqrt(ratio * (1 - ratio) / kept.size)
    assert abs(kept.mean() - (1 - ratio)) < tolerance
    flat = kept.ravel()
    for distance in (1, 2, 3, 4):
        both = (flat[distance:] & flat[:-distance]).mean()
        assert abs(both - (1 - ratio) ** 2) < 3 * tolerance
    for place in range(4):
        assert abs(flat[place::4].mean() - (1 - ratio)) < 2 * tolerance


@pytest.mark.parametrize("ratio", [1, -0.5])
def test_bad_ratio(ratio):
    refused(f"type: 'Dropout' dropout_param {{ dropout_ratio: {ratio} }}", [(2, 3)], "at least 0 and below 1")
