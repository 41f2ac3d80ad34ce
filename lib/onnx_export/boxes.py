"""Box operations in ONNX: `bbox_transform_inv`, `clip_boxes` and `cpu_nms`."""
from __future__ import annotations

from typing import Any

import numpy as np

from nms.cpu_nms import just_below

Part = Any                  # of the engine's graph
_LIMIT = float(np.finfo(np.float32).max / 4)        # as in bbox_transform_inv
_ALL = np.iinfo(np.int64).max


def columns(part: Part, value: str, first: int, last: int) -> str:
    """value[:, first:last]"""
    return part.cut(value, [first], [last], [1])


def sizes_of(part: Part, boxes: str) -> str:
    """Width and height of boxes (N, 4) in inclusive pixels, (N, 2)."""
    return part.plus(part.node("Sub", columns(part, boxes, 2, 4), columns(part, boxes, 0, 2)), 1)


def decoded(part: Part, boxes: str, deltas: str, groups: int) -> str:
    """`bbox_transform_inv` of boxes (N, 4) and deltas (N, 4 * groups), as (N, groups, 4)."""
    sizes = sizes_of(part, boxes)
    centres = part.node("Add", columns(part, boxes, 0, 2), part.times(sizes, 0.5))
    sizes, centres = (part.node("Unsqueeze", value, part.ints(1)) for value in (sizes, centres))
    apart = part.node("Reshape", deltas, part.ints(-1, groups, 2, 2))
    moves, growth = (part.node("Gather", apart, part.array(np.array(index)), axis=2) for index in (0, 1))
    centres = part.node("Clip", part.node("Add", part.node("Mul", moves, sizes), centres), part.floats(-_LIMIT),
                        part.floats(_LIMIT))
    halves = part.times(part.node("Min", part.node("Mul", part.node("Exp", growth), sizes), part.floats(_LIMIT)), 0.5)
    return part.node("Concat", part.node("Sub", centres, halves), part.node("Add", centres, halves), axis=2)


def clipped(part: Part, boxes: str, size: str) -> str:
    """`clip_boxes` of boxes (..., 4) to an image; `size` is its height and width, (2,) float32."""
    last = part.node("Gather", part.plus(size, -1), part.ints(1, 0, 1, 0))
    return part.node("Min", part.node("Max", boxes, part.floats(0)), last)


def sorted_by(part: Part, scores: str, at_most: int = 0) -> str:
    """Indices of the highest scores (n,), best first; ties by index. at_most: 0 for all."""
    count = part.length(scores, 0)
    if at_most > 0:
        count = part.node("Min", count, part.ints(at_most))
    return part.nodes("TopK", [scores, count], 2, axis=0)[1]


def suppressed(part: Part, boxes: str, scores: str, thresh: float, max_keep: int = 0,
               above: float | None = None) -> str:
    """`cpu_nms` of several groups of boxes: rows (group, 0, index) of those kept, group by group, best first.

    ONNX computes sizes as x2 - x1 and drops boxes above the threshold, not at it. So x2 and y2 are increased by 1, and
    the threshold is the next smaller number. At a threshold of 0 only the best box stays.

    boxes   (groups, n, 4)
    scores  (groups, n)
    above   only boxes that score above this are used; None: all
    """
    wide = part.node("Add", boxes, part.floats([0, 0, 1, 1]))
    limit = min(just_below(thresh), 1) if thresh > 0 else 0
    most = part.ints((max_keep if max_keep > 0 else _ALL) if thresh > 0 else 1)
    return part.node("NonMaxSuppression", wide, part.node("Unsqueeze", scores, part.ints(1)), most,
                     part.floats([limit]), *([] if above is None else [part.floats([above])]))


def column(part: Part, rows: str, index: int) -> str:
    """rows[:, index]"""
    return part.node("Gather", rows, part.array(np.array(index)), axis=1)
