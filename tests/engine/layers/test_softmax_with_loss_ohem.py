"""SoftmaxWithLossOHEM: the values and gradients of SoftmaxWithLoss, and the loss of each label."""
import math

import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused

FLT_MIN = 2.0 ** -126


def tops(axis=1, ignore=None, mode="VALID", fixed=1.0):
    """The loss, the probabilities and the loss of each label, by loops."""
    def of(scores, labels):
        moved = np.moveaxis(scores, axis, -1)
        rows, targets = moved.reshape(-1, moved.shape[-1]), labels.reshape(-1).astype(int)
        prob = np.array([np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in rows])
        losses = np.array([0.0 if target == ignore else -math.log(max(row[target], FLT_MIN))
                           for row, target in zip(prob, targets, strict=True)])
        divisor = {"VALID": (targets != ignore).sum(), "FULL": len(rows), "NONE": 1, "PRE_FIXED": fixed,
                   "BATCH_SIZE": math.prod(scores.shape[:axis])}[mode]
        return (np.array(losses.sum() / max(1, divisor)), np.moveaxis(prob.reshape(moved.shape), -1, axis),
                np.expand_dims(losses.reshape(moved.shape[:-1]), axis))
    return of


def labels(*shape, classes=4):
    return np.random.default_rng(5).integers(0, classes, shape).astype(float)


@pytest.mark.parametrize("mode, fixed", [("VALID", 1), ("FULL", 1), ("BATCH_SIZE", 1), ("NONE", 1), ("PRE_FIXED", 2.5),
                                         ("PRE_FIXED", 0.5)])
@pytest.mark.parametrize("ignore", [None, 2])
def test_all_tops_and_their_gradients(mode, fixed, ignore):
    text = f"normalization: {mode} pre_fixed_normalizer: {fixed}" + (f" ignore_label: {ignore}" if ignore else "")
    check(f"type: 'SoftmaxWithLossOHEM' loss_param {{ {text} }}", [randn(5, 4), labels(5)],
          tops(1, ignore, mode, fixed), learns=[0], num_tops=3)


def test_as_in_published_nets_and_with_maps():
    check("type: 'SoftmaxWithLossOHEM'", [randn(3, 4, 2, 5), labels(3, 1, 2, 5)], tops(), learns=[0], num_tops=3)
    check("type: 'SoftmaxWithLossOHEM' softmax_param { axis: -2 }", [randn(2, 3, 4, 5), labels(2, 3, 5)], tops(2),
          learns=[0], num_tops=3)
    check("type: 'SoftmaxWithLossOHEM'", [randn(5, 4), labels(5)], lambda x, y: tops()(x, y)[0], learns=[0])


def test_the_losses_of_the_labels_have_one_channel():
    runner = Runner("type: 'SoftmaxWithLossOHEM'", [randn(3, 4, 1, 1), labels(3)], num_tops=3)
    assert [top.shape for top in runner.forward()] == [(), (3, 4, 1, 1), (3, 1, 1, 1)]


def test_bad_input():
    refused("type: 'SoftmaxWithLossOHEM'", [(2, 3, 4), (2, 3)], "need 8 labels, found 6")
    refused("type: 'SoftmaxWithLossOHEM'", [(2, 3), (2,)], "takes at most 3 top", num_tops=4)
    runner = Runner("type: 'SoftmaxWithLossOHEM'", [randn(2, 4), np.array([0.0, 4.0])], num_tops=3)
    with pytest.raises(ValueError, match=r"labels must be in 0..3, found 4"):
        runner.forward()
