"""SmoothL1Loss."""
import kernel_oracles as oracle
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused

from caffe.engine.layers.smooth_l1_loss import SmoothL1Loss


def loss(sigma):
    def of(prediction, target, inside=None, outside=None):
        ones = np.ones_like(prediction)
        elements, _ = oracle.smooth_l1(prediction, target, ones if inside is None else inside,
                                       ones if outside is None else outside, sigma)
        return np.array(elements.sum() / len(prediction))
    return of


def bottoms(*shape, weights=2):
    return [randn(*shape, seed=seed) for seed in range(2 + weights)]


@pytest.mark.parametrize("sigma", [1.0, 3.0, 0.5])
@pytest.mark.parametrize("weights", [0, 1, 2])
@pytest.mark.parametrize("shape", [(3, 8), (2, 4, 3, 5)])
def test_values_and_gradients(sigma, weights, shape):
    check(f"type: 'SmoothL1Loss' smooth_l1_loss_param {{ sigma: {sigma} }}", bottoms(*shape, weights=weights),
          loss(sigma), learns=[0, 1])


def test_there_is_no_default_loss_weight():
    assert SmoothL1Loss.default_loss_weight == 0
    check("type: 'SmoothL1Loss'", bottoms(3, 4, weights=0), loss(1.0))


def test_weights_get_no_gradient_and_an_empty_batch_has_loss_0():
    runner = Runner("type: 'SmoothL1Loss'", bottoms(3, 4))
    runner.forward()
    gradients = runner.backward([np.array(2.0)], [True] * 4)
    assert gradients[0].any() and not gradients[2].any() and not gradients[3].any()
    empty = Runner("type: 'SmoothL1Loss'", [np.zeros((0, 4))] * 4)
    assert empty.forward()[0] == 0
    assert empty.backward([np.array(1.0)], [True, True, False, False])[0].shape == (0, 4)


def test_bad_input():
    refused("type: 'SmoothL1Loss'", [(3, 4)] * 5, "at most 4 bottom")
    refused("type: 'SmoothL1Loss'", [(3, 4), (3, 4), (3, 2)], "bottom 2 of the prediction's shape")
    refused("type: 'SmoothL1Loss'", [(3, 4)], "at least 2 bottom")
    refused("type: 'SmoothL1Loss'", [(3, 4), (4, 3)], r"bottom 1 of the prediction's shape \(3, 4\), found \(4, 3\)")
    refused("type: 'SmoothL1Loss'", [(1,), ()], r"bottom 1 of the prediction's shape \(1,\), found \(\)")
    refused("type: 'SmoothL1Loss' smooth_l1_loss_param { sigma: 0 }", [(3, 4), (3, 4)], "sigma above 0")
