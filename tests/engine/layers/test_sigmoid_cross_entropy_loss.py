"""SigmoidCrossEntropyLoss."""
import math

import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused


def loss(scores, targets, mode="BATCH_SIZE", ignore=None):
    total, valid = 0.0, 0
    for x, t in zip(scores.ravel(), targets.ravel(), strict=True):
        if ignore is not None and int(t) == ignore:
            continue
        p = 1 / (1 + math.exp(-x))
        total -= t * math.log(p) + (1 - t) * math.log(1 - p)
        valid += 1
    return np.array(total / max(1, {"BATCH_SIZE": len(scores), "FULL": scores.size, "VALID": valid, "NONE": 1}[mode]))


TARGETS = np.random.default_rng(2).random((4, 3, 2))


@pytest.mark.parametrize("settings, mode", [
    ("", "BATCH_SIZE"), ("normalization: FULL", "FULL"), ("normalization: NONE", "NONE"), ("normalize: true", "VALID"),
    ("normalization: VALID", "VALID")])
def test_soft_targets(settings, mode):
    check(f"type: 'SigmoidCrossEntropyLoss' loss_param {{ {settings} }}", [randn(4, 3, 2), TARGETS],
          lambda x, t: loss(x, t, mode), learns=[0])


@pytest.mark.parametrize("mode", ["VALID", "FULL"])
def test_ignored_targets(mode):
    targets = np.random.default_rng(3).integers(-1, 2, (4, 3, 2)).astype(float)
    check(f"type: 'SigmoidCrossEntropyLoss' loss_param {{ ignore_label: -1 normalization: {mode} }}",
          [randn(4, 3, 2), targets], lambda x, t: loss(x, t, mode, -1), learns=[0])


def test_targets_are_truncated_before_they_are_ignored():
    runner = Runner("type: 'SigmoidCrossEntropyLoss' loss_param { ignore_label: 0 }",
                    [randn(2, 3), np.full((2, 3), 0.9)])
    assert runner.forward()[0] == 0


def test_large_scores_do_not_overflow():
    runner = Runner("type: 'SigmoidCrossEntropyLoss'", [np.array([[1000.0, -1000]]), np.array([[0.0, 0]])])
    assert runner.forward()[0] == 1000


def test_bad_input():
    refused("type: 'SigmoidCrossEntropyLoss'", [(2, 3), (2, 4)], "same number of values")
    refused("type: 'SigmoidCrossEntropyLoss'", [(), ()], "first dimension")
