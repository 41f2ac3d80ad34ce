"""ONNX conversions of losses, Accuracy and SegAccuracy.

Labels are float32, truncated to integers. An invalid label makes a loss NaN, because a model cannot raise errors.
"""
from __future__ import annotations

import math

import numpy as np

from ..engine.bases.losses import LEAST_PROBABILITY, LOG_FLT_MIN
from .onnx_graph import Shape, Step, converts


# ---------------------------------------------------------------------------------------------- labels
def _labels(step: Step, shape: Shape) -> str:
    """Bottom 1 as int64."""
    return step.as_ints(step.reshaped(step.inputs[1], step.bottoms[1].shape, shape))


def _counts(step: Step, labels: str) -> str | None:
    """Which labels are not ignored; None if loss_param ignores none."""
    param = step.layer.param.loss_param
    if not param.HasField("ignore_label"):
        return None
    return step.node("Not", step.node("Equal", labels, step.ints(param.ignore_label)))


def _is_class(step: Step, labels: str, classes: int) -> str:
    return step.node("And", step.node("GreaterOrEqual", labels, step.ints(0)),
                     step.node("Less", labels, step.ints(classes)))


def _clipped(step: Step, labels: str, classes: int) -> str:
    """The labels clipped to valid class indices."""
    return step.node("Clip", labels, step.array(np.array(0)), step.array(np.array(classes - 1)))


def _one_hot(step: Step, labels: str, classes: int, axis_from_behind: int) -> str:
    """One-hot labels (bool), with the classes along the label's axis of length 1."""
    index = np.arange(classes).reshape(-1, *(1,) * (axis_from_behind - 1))
    return step.node("Equal", labels, step.array(index, "classes"))


def _of_label(step: Step, values: str, labels: str, classes: int) -> str:
    """values (outer, C, inner) at labels (outer, 1, inner); NaN for invalid labels."""
    found = step.node("GatherElements", values, _clipped(step, labels, classes), axis=1)
    return step.node("Where", _is_class(step, labels, classes), found, step.floats(math.nan))


# ---------------------------------------------------------------------------------------------- normalisers
def _number(step: Step, value: str, count: int, unit: int = 1) -> str:
    """The size of a value in units of `unit` elements, as float32; `count` is its current number of elements."""
    if not step.varies(value):
        return step.floats(count / unit)
    found = step.as_floats(step.node("Size", value))
    step.graph.varying.pop(found, None)
    return found if unit == 1 else step.node("Div", found, step.floats(unit))


def _per_item(step: Step, total: str, factor: float = 1) -> str:
    """The total divided by `factor` times the first dimension."""
    items = _number(step, step.inputs[0], step.bottoms[0].count, math.prod(step.shape[1:]))
    return step.node("Div", total, step.times(items, factor))


def _counted(step: Step, losses: str, counts: str | None) -> str:
    """The losses, 0 for ignored labels."""
    return losses if counts is None else step.node("Where", counts, losses, step.floats(0))


def _normalised(step: Step, losses: str, labels: str, counts: str | None, outer: int, inner: int,
                default: str = "VALID") -> str:
    """The sum of the losses (see `_counted`), normalised according to loss_param."""
    mode = step.layer.normalization(default)
    total = step.total(losses)
    if mode == "VALID" and counts is not None:
        divisor = step.node("Max", step.total(step.as_floats(counts)), step.floats(1))
    elif mode not in ("NONE", "PRE_FIXED") and step.varies(labels):
        number = _number(step, labels, outer * inner, inner if mode == "BATCH_SIZE" else 1)
        divisor = step.node("Max", number, step.floats(1))
    else:
        divisor = step.floats(step.layer.divisor(mode, outer, inner, None))
    return step.node("Div", total, divisor)


# ---------------------------------------------------------------------------------------------- classes
@converts("SoftmaxWithLoss", "SoftmaxWithLossOHEM")
def softmax_with_loss(step: Step):
    layer = step.layer
    shape = (layer.outer, step.shape[layer.softmax_axis], layer.inner)
    scores = step.reshaped(step.inputs[0], step.shape, shape)
    logarithms = step.node("Max", step.node("LogSoftmax", scores, axis=1), step.floats(LOG_FLT_MIN))
    labels = _labels(step, (layer.outer, 1, layer.inner))
    losses, counts = step.node("Neg", _of_label(step, logarithms, labels, shape[1])), _counts(step, labels)
    losses = _counted(step, losses, counts)
    tops = [_normalised(step, losses, labels, counts, layer.outer, layer.inner)]
    if len(step.tops) > 1:
        tops.append(step.restored(step.node("Softmax", scores, axis=1), shape, step.shape))
    if len(step.tops) > 2:
        tops.append(step.restored(losses, (layer.outer, 1, layer.inner), step.tops[2].shape))
    return tops


@converts("InfogainLoss")
def infogain_loss(step: Step):
    layer, classes = step.layer, step.shape[step.layer.along]
    scores = step.reshaped(step.inputs[0], step.shape, (layer.outer, classes, layer.inner))
    probabilities = step.node("Softmax", scores, axis=1)
    logarithms = step.node("Log", step.node("Max", probabilities, step.floats(LEAST_PROBABILITY)))
    if layer.matrix is None:
        matrix = step.reshaped(step.inputs[2], step.bottoms[2].shape, (classes, classes))
    else:
        matrix = step.array(layer.matrix.reshape(classes, classes).float().numpy(), "infogain")
    labels = _labels(step, (layer.outer, 1, layer.inner))
    # Class weights of each label, (outer, 1, inner, C); then moved to the layout of the scores, (outer, C, inner)
    rows = step.node("Gather", matrix, _clipped(step, labels, classes), axis=0)
    weights = step.node("Squeeze", step.node("Transpose", rows, perm=[0, 3, 2, 1]), step.ints(3))
    terms = step.node("Neg", step.reduced("ReduceSum", step.node("Mul", weights, logarithms), [1]))
    losses = step.node("Where", _is_class(step, labels, classes), terms, step.floats(math.nan))
    counts = _counts(step, labels)
    loss = _normalised(step, _counted(step, losses, counts), labels, counts, layer.outer, layer.inner)
    if len(step.tops) == 1:
        return loss
    return [loss, step.restored(probabilities, (layer.outer, classes, layer.inner), step.shape)]


@converts("MultinomialLogisticLoss")
def multinomial_logistic_loss(step: Step):
    shape = (step.shape[0], math.prod(step.shape[1:]))
    rows = step.reshaped(step.inputs[0], step.shape, shape)
    logarithms = step.node("Log", step.node("Max", rows, step.floats(LEAST_PROBABILITY)))
    found = _of_label(step, logarithms, _labels(step, (shape[0], 1)), shape[1])
    return _per_item(step, step.node("Neg", step.total(found)))


@converts("HingeLoss")
def hinge_loss(step: Step):
    param, shape = step.layer.param.hinge_loss_param, (step.shape[0], math.prod(step.shape[1:]))
    labels = _labels(step, (shape[0], 1))
    scores = step.reshaped(step.inputs[0], step.shape, shape)
    signed = step.node("Where", _one_hot(step, labels, shape[1], 1), scores, step.node("Neg", scores))
    margins = step.node("Relu", step.node("Sub", step.floats(1), signed))
    if param.Norm.Name(param.norm) == "L2":
        margins = step.node("Mul", margins, margins)
    margins = step.node("Where", _is_class(step, labels, shape[1]), margins, step.floats(math.nan))
    return _per_item(step, step.total(margins))


@converts("Accuracy")
def accuracy(step: Step):
    layer, param = step.layer, step.layer.param.accuracy_param
    scores = step.reshaped(step.inputs[0], step.shape, (layer.outer, layer.classes, layer.inner))
    labels = _labels(step, (layer.outer, 1, layer.inner))
    # the score of an invalid label is NaN, which no score reaches
    as_good = step.node("GreaterOrEqual", scores, _of_label(step, scores, labels, layer.classes))
    rank = step.reduced("ReduceSum", step.as_floats(as_good), [1])
    known = _is_class(step, labels, layer.classes)
    right = step.node("And", known, step.node("LessOrEqual", rank, step.floats(param.top_k)))
    counted = [right, known]
    if param.HasField("ignore_label"):
        counts = step.node("Not", step.node("Equal", labels, step.ints(param.ignore_label)))
        counted = [step.node("And", flags, counts) for flags in counted]
        number = step.total(step.as_floats(counts))
    else:
        number = _number(step, labels, layer.outer * layer.inner)
    share = _share(step, step.total(step.as_floats(counted[0])), number)
    if len(step.tops) == 1:
        return share
    own = _one_hot(step, labels, layer.classes, 2)
    sums = [step.reduced("ReduceSum", step.as_floats(step.node("And", own, flags)), [0, 2], keepdims=False)
            for flags in counted]
    return [share, _share(step, *sums)]


@converts("SegAccuracy")
def seg_accuracy(step: Step):
    param, classes = step.layer.param.seg_accuracy_param, step.shape[1]
    if not param.reset:
        step.refuse("reset: false counts the pixels of earlier passes")
    pixels = math.prod(step.shape[2:])
    scores = step.reshaped(step.inputs[0], step.shape, (step.shape[0], classes, pixels))
    labels = _labels(step, (step.shape[0], 1, pixels))
    known, counted = _is_class(step, labels, classes), step.array(np.array(True))
    for label in param.ignore_label:
        is_other = step.node("Not", step.node("Equal", labels, step.ints(label)))
        known = step.node("Or", known, step.node("Not", is_other))
        counted = step.node("And", counted, is_other)
    best = step.node("ArgMax", scores, axis=1, keepdims=1)
    of_label, found = (step.node("And", _one_hot(step, value, classes, 2), counted) for value in (labels, best))
    right, of_label, found = (step.reduced("ReduceSum", step.as_floats(flags), [0, 2], keepdims=False)
                              for flags in (step.node("And", of_label, found), of_label, found))
    present = step.total(step.as_floats(step.as_flags(of_label)))
    union = step.node("Sub", step.node("Add", of_label, found), right)
    overlap = step.node("Where", step.as_flags(union), _share(step, right, union), step.floats(1))
    measures = [_share(step, step.total(right), step.total(of_label)),
                _share(step, step.total(_share(step, right, of_label)), present),
                step.times(step.total(overlap), 1 / classes)]
    top = step.node("Concat", *(step.node("Unsqueeze", value, step.ints(0)) for value in measures), axis=0)
    unknown = step.as_flags(step.total(step.as_floats(step.node("Not", known))))
    return step.restored(step.node("Where", unknown, step.floats(math.nan), top), (3,), step.top_shape)


def _share(step: Step, part: str, number: str) -> str:
    return step.node("Div", part, step.node("Max", number, step.floats(1)))


# ---------------------------------------------------------------------------------------------- values
@converts("EuclideanLoss")
def euclidean_loss(step: Step):
    target = step.reshaped(step.inputs[1], step.bottoms[1].shape, step.shape)
    squares = step.reduced("ReduceSumSquare", step.node("Sub", step.inputs[0], target))
    return _per_item(step, squares, 2)


@converts("SigmoidCrossEntropyLoss")
def sigmoid_cross_entropy_loss(step: Step):
    """max(x, 0) - x t + log(1 + exp(-|x|)), which does not overflow."""
    scores, targets = step.inputs[0], step.reshaped(step.inputs[1], step.bottoms[1].shape, step.shape)
    linear = step.node("Sub", step.node("Relu", scores), step.node("Mul", scores, targets))
    rest = step.node("Softplus", step.node("Neg", step.node("Abs", scores)))
    losses, counts = step.node("Add", linear, rest), _counts(step, step.as_ints(targets))
    return _normalised(step, _counted(step, losses, counts), targets, counts, step.shape[0],
                       math.prod(step.shape[1:]), "BATCH_SIZE")


@converts("ContrastiveLoss")
def contrastive_loss(step: Step):
    param, items = step.layer.param.contrastive_loss_param, step.shape[0]
    difference = step.reshaped(step.node("Sub", *step.inputs[:2]), step.shape, step.shape[:2])
    squares = step.reduced("ReduceSumSquare", difference, [1], keepdims=False)
    distance = squares if param.legacy_version else step.node("Sqrt", squares)
    apart = step.node("Relu", step.node("Sub", step.floats(param.margin), distance))
    if not param.legacy_version:
        apart = step.node("Mul", apart, apart)
    similar = step.as_flags(step.as_ints(step.reshaped(step.inputs[2], step.bottoms[2].shape, (items,))))
    return _per_item(step, step.total(step.node("Where", similar, squares, apart)), 2)


@converts("SmoothL1Loss")
def smooth_l1_loss(step: Step):
    losses = _smooth_l1(step, step.layer.sigma)
    items = _number(step, step.inputs[0], step.bottoms[0].count, math.prod(step.shape[1:]))
    return step.node("Div", step.total(losses), step.node("Max", items, step.floats(1)))


@converts("SmoothL1LossOHEM")
def smooth_l1_loss_ohem(step: Step):
    of_rois = step.reduced("ReduceSum", _smooth_l1(step, 1), [1])
    loss = _normalised(step, of_rois, of_rois, None, step.shape[0], math.prod(step.shape[2:]))
    return [loss, of_rois][:len(step.tops)]


def _smooth_l1(step: Step, sigma: float) -> str:
    """The elementwise loss of the prediction."""
    prediction, *others = step.inputs
    target, *weights = (step.reshaped(value, blob.shape, step.shape)
                        for value, blob in zip(others, step.bottoms[1:], strict=True))
    difference, square = step.node("Sub", prediction, target), sigma ** 2
    if weights:
        difference = step.node("Mul", weights[0], difference)
    size = step.node("Abs", difference)
    curved = step.times(step.node("Mul", difference, difference), square / 2)
    losses = step.node("Where", step.node("Less", size, step.floats(1 / square)), curved,
                       step.plus(size, -0.5 / square))
    for outside in weights[1:]:
        losses = step.node("Mul", outside, losses)
    return losses
