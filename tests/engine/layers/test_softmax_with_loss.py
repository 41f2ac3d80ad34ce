"""SoftmaxWithLoss: normalisers, ignored labels, clamped probabilities."""
import math

import numpy as np
import pytest
import torch
from layer_checker import Runner, check, randn, refused

import caffe
from caffe.engine import device
from caffe.proto import caffe_pb2, prototxt

FLT_MIN = 2.0 ** -126


def loss(scores, labels, axis=1, ignore=None, mode="VALID", fixed=1.0):
    """(loss, gradient of the loss), by loops."""
    moved = np.moveaxis(scores, axis, -1)
    classes = moved.shape[-1]
    outer = math.prod(scores.shape[:axis])
    rows, targets = moved.reshape(-1, classes), labels.reshape(-1).astype(int)
    total, valid, gradient = 0.0, 0, np.zeros(rows.shape)
    for n, (row, target) in enumerate(zip(rows, targets, strict=True)):
        if target == ignore:
            continue
        prob = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        total -= math.log(max(prob[target], FLT_MIN))
        gradient[n] = prob - np.eye(classes)[target]
        valid += 1
    divisor = max(1, {"VALID": valid, "FULL": len(rows), "BATCH_SIZE": outer, "NONE": 1, "PRE_FIXED": fixed}[mode])
    return total / divisor, np.moveaxis(gradient.reshape(moved.shape), -1, axis) / divisor


def labels(*shape, classes=4):
    return np.random.default_rng(5).integers(0, classes, shape).astype(float)


@pytest.mark.parametrize("mode", ["VALID", "FULL", "BATCH_SIZE", "NONE"])
@pytest.mark.parametrize("ignore", [None, 2])
def test_normalisers(mode, ignore):
    text = f"normalization: {mode}" + (f" ignore_label: {ignore}" if ignore is not None else "")
    check(f"type: 'SoftmaxWithLoss' loss_param {{ {text} }}", [randn(2, 4, 3, 5), labels(2, 3, 5)],
          lambda x, y: loss(x, y, 1, ignore, mode)[0], learns=[0])


@pytest.mark.parametrize("fixed, number", [
    ("pre_fixed_normalizer: 2.5", 2.5), ("pre_fixed_normalizer: 0.5", 1), ("", 1)])
def test_a_normaliser_given_as_a_number(fixed, number):
    check(f"type: 'SoftmaxWithLoss' loss_param {{ normalization: PRE_FIXED {fixed} }}",
          [randn(2, 4, 3, 5), labels(2, 3, 5)], lambda x, y: loss(x, y, 1, None, "PRE_FIXED", number)[0], learns=[0])


def test_other_axis_and_plain_scores():
    check("type: 'SoftmaxWithLoss' softmax_param { axis: 2 }", [randn(2, 3, 4, 5), labels(2, 3, 5)],
          lambda x, y: loss(x, y, 2)[0], learns=[0])
    check("type: 'SoftmaxWithLoss'", [randn(5, 4), labels(5)], lambda x, y: loss(x, y)[0], learns=[0])


@pytest.mark.parametrize("text, mode", [("normalize: false", "BATCH_SIZE"), ("normalize: true", "VALID"),
                                        ("normalize: false normalization: NONE", "NONE")])
def test_old_normalize(text, mode):
    check(f"type: 'SoftmaxWithLoss' loss_param {{ {text} }}", [randn(2, 4, 3), labels(2, 3)],
          lambda x, y: loss(x, y, 1, None, mode)[0], learns=[0])


@pytest.mark.parametrize("axis", [1, 2])
def test_the_second_top_holds_the_probabilities(axis):
    def both(scores, labels):
        shifted = np.exp(scores - scores.max(axis, keepdims=True))
        return loss(scores, labels, axis)[0], shifted / shifted.sum(axis, keepdims=True)
    found = labels(2, 4, 5, classes=3) if axis == 1 else labels(2, 3, 5, classes=4)
    check(f"type: 'SoftmaxWithLoss' softmax_param {{ axis: {axis} }}", [randn(2, 3, 4, 5), found], both, learns=[0],
          num_tops=2)


def test_in_a_net_the_second_top_is_no_loss():
    net = caffe.Net(prototxt.parse("""
        layer { name: 'in' type: 'Input' top: 'x' input_param { shape { dim: 2 dim: 3 } } }
        layer { name: 'labels' type: 'Input' top: 'y' input_param { shape { dim: 2 } } }
        layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'x' bottom: 'y' top: 'loss' top: 'prob' }
        force_backward: true""", caffe_pb2.NetParameter()), caffe.TRAIN)
    found = net.forward(x=randn(2, 3), y=np.array([0, 2]))
    wanted, gradient = loss(randn(2, 3), np.array([0, 2]))
    np.testing.assert_allclose(found["loss"], wanted, rtol=1e-6)
    np.testing.assert_allclose(found["prob"].sum(1), 1, rtol=1e-6)
    assert net.blob_loss_weights["loss"] == 1 and net.blob_loss_weights["prob"] == 0
    net.backward()
    np.testing.assert_allclose(net.blobs["x"].diff, gradient, rtol=1e-5, atol=1e-7)


def test_all_labels_ignored():
    runner = Runner("type: 'SoftmaxWithLoss' loss_param { ignore_label: -1 }", [randn(3, 4), -np.ones(3)])
    assert runner.forward()[0] == 0
    assert (runner.backward([np.array(1.0)], [True, False])[0] == 0).all()


def test_the_probability_is_floored():
    scores, target = np.array([[0.0, 500.0, 3.0]]), np.array([0.0])
    for dtype in (torch.float32, torch.float64):
        with device.use_float_type(dtype):
            runner = Runner("type: 'SoftmaxWithLoss'", [scores, target])
            np.testing.assert_allclose(runner.forward()[0], 87.33654475055310, rtol=1e-6)
            np.testing.assert_allclose(runner.backward([np.array(2.0)], [True, False])[0], [[-2, 2, 0]], atol=1e-6)


def test_labels_are_truncated():
    runner = Runner("type: 'SoftmaxWithLoss'", [randn(3, 4), np.array([0.9, 2.5, 3.0])])
    np.testing.assert_allclose(runner.forward()[0], loss(randn(3, 4), np.array([0, 2, 3]))[0], rtol=1e-6)


def test_bad_input():
    refused("type: 'SoftmaxWithLoss'", [(2, 3, 4), (2, 3)], "need 8 labels, found 6")
    refused("type: 'SoftmaxWithLoss'", [(2, 3), (2,)], "takes at most 2 top", num_tops=3)
    refused("type: 'SoftmaxWithLoss'", [(2, 3), (3,)], "first dimension")
    refused("type: 'SoftmaxWithLoss' softmax_param { axis: 3 }", [(2, 3), (2,)], "axis 3")
    for wrong in (-1.0, 4.0):
        runner = Runner("type: 'SoftmaxWithLoss'", [randn(2, 4), np.array([0.0, wrong])])
        with pytest.raises(ValueError, match=rf"labels must be in 0..3, found {int(wrong)}"):
            runner.forward()
