"""ONNX conversion of Proposal, with one NonMaxSuppression for all images, for feature maps of any size."""
from __future__ import annotations

import numpy as np

from .onnx_graph import Step, converts


@converts("Proposal")
def proposal(step: Step):
    param, count = step.layer.param.proposal_param, len(step.layer.anchors)
    info_shape = step.bottoms[2].shape
    images = step.reshaped(step.inputs[2], info_shape, (info_shape[0], step.bottoms[2].count // info_shape[0]))
    scores = step.node("Reshape", _cells(step, step.cut(step.inputs[0], [count], [2 * count], [1])), step.ints(0, -1))
    offsets = step.node("Reshape", _cells(step, step.inputs[1]), step.ints(0, -1, 4))
    boxes = _boxes(step, offsets, images)

    scales = [2, 2] if step.bottoms[2].count == 3 * info_shape[0] else [3, 2]
    least = step.times(step.node("Gather", images, step.ints(*scales), axis=1), param.min_size)
    sizes = step.plus(step.node("Sub", _half(step, boxes, 2), _half(step, boxes, 0)), 1)
    is_large = step.node("GreaterOrEqual", sizes, step.node("Unsqueeze", least, step.ints(1)))
    is_large = step.reduced("ReduceMin", step.as_floats(is_large), [2], keepdims=False)
    most = step.node("Min", step.length(boxes, 1), step.ints(param.pre_nms_topn))
    scores, order = step.nodes("TopK", [step.node("Mul", scores, is_large), most], 2, axis=1)
    boxes = step.node("GatherND", boxes, step.node("Unsqueeze", order, step.ints(2)), batch_dims=1)

    places = _suppressed(step, boxes, scores)
    image = step.as_floats(step.cut(places, [0], [1], [1]))
    found = [step.node("Concat", image, step.node("GatherND", boxes, places), axis=1),
             step.node("GatherND", scores, places)][:len(step.tops)]
    step.set_varying(*found)
    return found


def _suppressed(step: Step, boxes: str, scores: str) -> str:
    """Batch index and rank (R, 2) of the boxes that survive the suppression, in this order.

    Proposal's corners are inclusive pixels, while ONNX measures from corner to corner: x2 and y2 are increased by 1.
    """
    param = step.layer.param.proposal_param
    wide = step.node("Add", boxes, step.floats([0, 0, 1, 1]))
    found = step.node("NonMaxSuppression", wide, step.node("Unsqueeze", scores, step.ints(1)),
                      step.ints(param.post_nms_topn), step.floats([min(param.nms_thresh, 1)]))
    return step.node("Gather", found, step.ints(0, 2), axis=1)


def _boxes(step: Step, offsets: str, images: str) -> str:
    """The boxes (N, K, 4) decoded from offsets (N, K, 4), clipped to their images."""
    anchors = _grid(step)
    first = step.cut(anchors, [0], [2], [1])
    sizes = step.plus(step.node("Sub", step.cut(anchors, [2], [4], [1]), first), 1)
    centres = step.node("Add", step.node("Mul", _half(step, offsets, 0), sizes),
                        step.node("Add", first, step.times(sizes, 0.5)))
    halves = step.times(step.node("Mul", step.node("Exp", _half(step, offsets, 2)), sizes), 0.5)
    boxes = step.node("Concat", step.node("Sub", centres, halves), step.node("Add", centres, halves), axis=2)
    last = step.plus(step.node("Gather", images, step.ints(1, 0, 1, 0), axis=1), -1)
    return step.node("Max", step.node("Min", boxes, step.node("Unsqueeze", last, step.ints(1))), step.floats(0))


def _grid(step: Step) -> str:
    """The anchors of all cells, (K, 4)."""
    stride, shifts = step.layer.param.proposal_param.feat_stride, []
    for axis, corners in ((2, [0, 1, 0, 1]), (3, [1, 0, 1, 0])):
        length = step.node("Squeeze", step.length(step.inputs[0], axis))
        cells = step.as_floats(step.node("Range", step.array(np.array(0)), length, step.array(np.array(1))))
        new_axes = step.ints(1, 2, 3) if axis == 2 else step.ints(0, 2, 3)
        shifts.append(step.node("Mul", step.node("Unsqueeze", step.times(cells, stride), new_axes),
                                step.floats(corners)))
    grid = step.node("Add", step.node("Add", *shifts), step.array(step.layer.anchors, "anchors"))
    return step.node("Reshape", grid, step.ints(-1, 4))


def _cells(step: Step, value: str) -> str:
    """(N, C, H, W) as (N, H, W, C)."""
    return step.node("Transpose", value, perm=[0, 2, 3, 1])


def _half(step: Step, value: str, first: int) -> str:
    """value[..., first:first + 2] of (N, K, 4)."""
    return step.cut(value, [first], [first + 2], [2])
