"""SmoothL1LossOHEM: the normalised loss and the loss of each RoI."""
import kernel_oracles as oracle
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused

from caffe.engine.layers.smooth_l1_loss_ohem import SmoothL1LossOHEM


def tops(divisor=None):
    """The loss, divided by divisor(shape), and the loss of each RoI."""
    def of(prediction, target, weights=None):
        ones = np.ones_like(prediction)
        terms, _ = oracle.smooth_l1(prediction, target, ones if weights is None else weights, ones, 1.0)
        number = len(prediction) * np.prod(prediction.shape[2:]) if divisor is None else divisor(prediction.shape)
        return np.array(terms.sum() / number), terms.sum(1, keepdims=True)
    return of


def bottoms(*shape, weights=True):
    return [2 * randn(*shape, seed=seed) for seed in range(2 + weights)]


@pytest.mark.parametrize("text, divisor", [
    ("", None), ("normalization: VALID", None), ("normalization: FULL", None), ("normalize: true", None),
    ("normalization: BATCH_SIZE", lambda shape: shape[0]), ("normalize: false", lambda shape: shape[0]),
    ("normalization: NONE", lambda shape: 1),
    ("normalization: PRE_FIXED pre_fixed_normalizer: 128", lambda shape: 128),
    ("normalization: PRE_FIXED pre_fixed_normalizer: 0.5", lambda shape: 1)])
def test_normalisers(text, divisor):
    check(f"type: 'SmoothL1LossOHEM' loss_param {{ {text} }}", bottoms(2, 4, 3, 5), tops(divisor), learns=[0, 1],
          num_tops=2)


@pytest.mark.parametrize("shape", [(3, 8), (3, 8, 1, 2)])
def test_shapes_without_weights_and_one_top(shape):
    check("type: 'SmoothL1LossOHEM'", bottoms(*shape, weights=False), tops(), learns=[0, 1], num_tops=2)
    check("type: 'SmoothL1LossOHEM'", bottoms(*shape), lambda *arrays: tops()(*arrays)[0], learns=[0, 1])


def test_targets_of_two_axes_fit_predictions_of_four():
    prediction, target, weights = bottoms(3, 8)
    found = Runner("type: 'SmoothL1LossOHEM'", [prediction[..., None, None], target, weights], num_tops=2).forward()
    loss, of_rois = tops()(prediction, target, weights)
    np.testing.assert_allclose(found[0], loss, rtol=1e-6)
    np.testing.assert_allclose(found[1], of_rois[..., None, None], rtol=1e-6)


def test_there_is_no_default_loss_weight_and_no_gradient_of_weights():
    assert SmoothL1LossOHEM.default_loss_weight == 0
    runner = Runner("type: 'SmoothL1LossOHEM'", bottoms(3, 4))
    runner.forward()
    gradients = runner.backward([np.array(2.0)], [True] * 3)
    assert gradients[0].any() and not gradients[2].any()
    empty = Runner("type: 'SmoothL1LossOHEM'", [np.zeros((0, 4))] * 3, num_tops=2)
    assert empty.forward()[0] == 0 and empty.forward()[1].shape == (0, 1)


def test_bad_input():
    refused("type: 'SmoothL1LossOHEM'", [(3, 4)] * 4, "at most 3 bottom")
    refused("type: 'SmoothL1LossOHEM'", [(3, 4), (3, 4), (3, 2)], "bottom 2 of the prediction's shape")
    refused("type: 'SmoothL1LossOHEM'", [(3,), (3,)], r"expected a prediction of shape \(N, C, ...\), found \(3,\)")
