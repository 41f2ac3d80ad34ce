"""ONNX for ProposalLayer: `proposals` of one image."""
from __future__ import annotations

import numpy as np

from onnx_export.boxes import Part, clipped, column, decoded, sizes_of, sorted_by, suppressed
from rpn.proposals import ProposalSettings


def add_proposals(part: Part, scores: str, deltas: str, im_info: str, anchors: np.ndarray, stride: float,
                  settings: ProposalSettings) -> tuple[str, str]:
    """RoIs (R, 5) and their scores (R, 1) of one image.

    scores   (1, 2A, H, W), of objects in channels A .. 2A-1
    deltas   (1, 4A, H, W)
    im_info  (1, 3)
    anchors  (A, 4) of cell (0, 0)

    NMS follows the rule of the CPU. NaN scores and deltas are not reported, as an ONNX model cannot raise errors.
    """
    size = part.node("Reshape", part.cut(im_info, [0], [2], [1]), part.ints(2))
    scale = part.node("Reshape", part.cut(im_info, [2], [3], [1]), part.ints(1))
    grid = _grid(part, scores, anchors, stride)
    scores = part.node("Reshape", _cells(part, part.cut(scores, [len(anchors)], [2 * len(anchors)], [1])),
                       part.ints(-1))
    moved = decoded(part, grid, part.node("Reshape", _cells(part, deltas), part.ints(-1, 4)), 1)
    boxes = clipped(part, part.node("Reshape", moved, part.ints(-1, 4)), size)

    shorter = part.reduced("ReduceMin", sizes_of(part, boxes), [1], keepdims=False)
    is_large = part.node("GreaterOrEqual", shorter, part.times(scale, settings.min_size))
    large = part.node("Squeeze", part.node("NonZero", is_large), part.ints(0))
    best = sorted_by(part, part.node("Gather", scores, large), settings.pre_nms_top_n)
    order = part.node("Gather", large, best)
    boxes, scores = part.node("Gather", boxes, order), part.node("Gather", scores, order)
    alone = part.node("Unsqueeze", boxes, part.ints(0)), part.node("Unsqueeze", scores, part.ints(0))
    kept = column(part, suppressed(part, *alone, settings.nms_thresh, settings.post_nms_top_n), 2)

    last = part.node("Gather", part.plus(size, -1), part.ints(1, 0))
    whole = part.node("Unsqueeze", part.node("Concat", part.floats([0, 0]), last, axis=0), part.ints(0))
    boxes = _or_if_none(part, part.node("Gather", boxes, kept), whole)
    scores = _or_if_none(part, part.node("Gather", scores, kept), part.floats([0]))
    return part.node("Pad", boxes, part.ints(0, 1, 0, 0)), part.node("Unsqueeze", scores, part.ints(1))


def _cells(part: Part, value: str) -> str:
    """(1, C, H, W) as (1, H, W, C)."""
    return part.node("Transpose", value, perm=[0, 2, 3, 1])


def _grid(part: Part, value: str, anchors: np.ndarray, stride: float) -> str:
    """`shift_anchors` of a feature map (1, C, H, W), computed in float64: (H * W * A, 4) float32."""
    shifts = []
    for axis, corners in ((2, (0, 1, 0, 1)), (3, (1, 0, 1, 0))):
        count = part.node("Squeeze", part.length(value, axis))
        cells = part.node("Range", part.array(np.array(0)), count, part.array(np.array(1)))
        places = part.node("Mul", part.typed(cells, np.float64), part.array(np.array(stride, np.float64)))
        new_axes = part.ints(1, 2, 3) if axis == 2 else part.ints(0, 2, 3)
        shifts.append(part.node("Mul", part.node("Unsqueeze", places, new_axes),
                                part.array(np.array(corners, np.float64))))
    grid = part.node("Add", part.node("Add", *shifts), part.array(np.asarray(anchors, np.float64), "anchors"))
    return part.typed(part.node("Reshape", grid, part.ints(-1, 4)), np.float32)


def _or_if_none(part: Part, rows: str, fallback: str) -> str:
    """The rows, or the row of `fallback` if there are none."""
    count = part.node("Max", part.length(rows, 0), part.ints(1))
    return part.node("Slice", part.node("Concat", rows, fallback, axis=0), part.ints(0), count, part.ints(0))
