"""ONNX conversions of layers with regions of interest, and of resizing layers."""
from __future__ import annotations

import math

import numpy as np

from .onnx_graph import Step, converts


def _rois(step: Step) -> str:
    """Bottom 1 as (R, 5)."""
    shape = step.bottoms[1].shape
    return step.reshaped(step.inputs[1], shape, (shape[0], 5))


@converts("ROIPooling")
def roi_pooling(step: Step):
    return step.node("MaxRoiPool", step.inputs[0], _rois(step), pooled_shape=step.layer.bins,
                     spatial_scale=step.layer.scale)


@converts("ROIAlign")
def roi_align(step: Step):
    layer = step.layer
    rois = _rois(step)
    images = step.as_ints(step.node("Squeeze", step.cut(rois, [0], [1], [1]), step.ints(1)))
    return step.node("RoiAlign", step.inputs[0], step.cut(rois, [1], [5], [1]), images, mode="avg",
                     output_height=layer.bins[0], output_width=layer.bins[1], sampling_ratio=max(layer.ratio, 0),
                     spatial_scale=layer.scale, coordinate_transformation_mode="output_half_pixel")


@converts("PSROIPooling")
def psroi_pooling(step: Step):
    """RoI by RoI, a matrix product of pixels and bin weights: all RoIs at once would take too much memory."""
    layer, (images, _, height, width) = step.layer, step.shape
    maps, bins = layer.param.psroi_pooling_param.output_dim, math.prod(layer.bins)
    image, left, above, right, below = (step.cut(_rois(step), [index], [index + 1], [1]) for index in range(5))
    apart = step.reshaped(step.inputs[0], step.shape, (images, maps, bins, height * width))
    features = step.node("Transpose", apart, perm=[0, 2, 1, 3])

    def one(_, slices):
        image, rows, columns = slices
        weights = step.node("Mul", step.node("Unsqueeze", rows, step.ints(1, 3)),
                            step.node("Unsqueeze", columns, step.ints(0, 2)))       # (bins, bins, H, W)
        index = step.node("Squeeze", step.as_ints(image), step.ints(0))
        found = step.node("MatMul", step.node("Gather", features, index, axis=0),
                          step.node("Reshape", weights, step.ints(bins, -1, 1)))
        return [], [found]

    found = step.scan(one, [], [image, _bin_weights(step, above, below, layer.bins[0], 2),
                                _bin_weights(step, left, right, layer.bins[1], 3)])[0]
    return step.restored(step.node("Transpose", found, perm=[0, 2, 1, 3]), (), step.top_shape)


@converts("BoxAnnotatorOHEM")
def box_annotator_ohem(step: Step):
    """A RoI is kept if fewer than roi_per_img RoIs of its image have a higher loss, or an equal one and come first."""
    param, places = step.layer.param.box_annotator_ohem_param, math.prod(step.top_shape)
    images = step.as_ints(step.reshaped(step.cut(step.inputs[0], [0], [1], [1]), step.top_shape, (places,)))
    losses = step.reshaped(step.inputs[1], step.bottoms[1].shape, (places,))
    (image, other_image), (loss, other_loss) = ([step.node("Unsqueeze", value, step.ints(axis)) for axis in (1, 0)]
                                                for value in (images, losses))
    tied = step.as_floats(step.node("Equal", loss, other_loss))
    earlier = step.as_flags(step.node("Trilu", tied, step.array(np.array(-1)), upper=0))
    first = step.node("Or", step.node("Greater", other_loss, loss), earlier)
    before = step.as_floats(step.node("And", step.node("Equal", image, other_image), first))
    rank = step.reduced("ReduceSum", before, [1], keepdims=False)
    kept = step.restored(step.node("Less", rank, step.floats(param.roi_per_img)), (places,), step.top_shape)
    labels = step.reshaped(step.inputs[2], step.bottoms[2].shape, step.top_shape)
    return [step.node("Where", kept, labels, step.floats(param.ignore_label)),
            step.node("Where", kept, step.inputs[3], step.floats(0))]


def _bin_weights(step: Step, first: str, last: str, bins: int, axis: int) -> str:
    """The weight of every row (or column) in every bin, (R, bins, length); first and last are (R, 1).

    axis  the axis of the features along which the bins lie
    """
    length = step.node("Squeeze", step.length(step.inputs[0], axis), step.ints(0))
    start = step.times(_rounded(step, first), step.layer.scale)
    size = step.node("Sub", step.times(step.plus(_rounded(step, last), 1), step.layer.scale), start)
    size = step.node("Div", step.node("Max", size, step.floats(0.1)), step.floats(bins))
    begin, end = (_border(step, rounding, start, size, np.arange(bins) + ahead, length)
                  for ahead, rounding in enumerate(("Floor", "Ceil")))
    pixels = step.as_floats(step.node("Range", step.array(np.array(0)), length, step.array(np.array(1))))
    touched = step.node("And", step.node("GreaterOrEqual", pixels, begin), step.node("Less", pixels, end))
    count = step.node("Max", step.node("Sub", end, begin), step.floats(1))
    return step.node("Div", step.as_floats(touched), count)


def _border(step: Step, rounding: str, start: str, size: str, index: np.ndarray, length: str) -> str:
    """The whole pixels (R, bins, 1) at which the bins begin or end, clipped to 0..length."""
    place = step.node("Add", step.node("Mul", size, step.floats(index)), start)
    place = step.node("Clip", step.node(rounding, place), step.floats(0), step.as_floats(length))
    return step.node("Unsqueeze", place, step.ints(2))


def _rounded(step: Step, value: str) -> str:
    """The values rounded to integers, halves away from zero."""
    size, sign = step.node("Abs", value), step.node("Sign", value)
    whole = step.node("Floor", size)
    up = step.node("GreaterOrEqual", step.node("Sub", size, whole), step.floats(0.5))
    return step.node("Mul", step.node("Add", whole, step.as_floats(up)), sign)


# ---------------------------------------------------------------------------------------------- resizing
@converts("Interp")
def interp(step: Step):
    param, value, size = step.layer.param.interp_param, step.inputs[0], step.shape[2:]
    if param.pad_beg or param.pad_end:
        value = step.cut(value, [-param.pad_beg] * 2, [length + param.pad_end for length in size], [2, 3])
    return step.node("Resize", value, "", "", step.ints(*step.top_shape[2:]), axes=[2, 3], mode="linear",
                     coordinate_transformation_mode="align_corners")


@converts("Upsample")
def upsample(step: Step):
    (n, c, h, w), (vertical, horizontal) = step.shape, step.layer.scales
    if len(step.inputs) > 1:
        return _unpooled(step)
    apart = step.reshaped(step.inputs[0], step.shape, (n, c, h, 1, w, 1))
    return step.restored(step.node("Expand", apart, step.ints(1, 1, 1, vertical, 1, horizontal)), (), step.top_shape)


def _unpooled(step: Step) -> str:
    """Each value at the mask's position. Runtimes resolve duplicate positions; onnxruntime does so as we do."""
    planes, pixels = step.shape[:2], math.prod(step.shape[2:])
    values, mask = (step.reshaped(value, step.shape, (*planes, pixels)) for value in step.inputs)
    empty = step.filled((*planes, math.prod(step.top_shape[2:])), 0)
    return step.restored(step.node("ScatterElements", empty, step.as_ints(mask), values, axis=2), (), step.top_shape)
