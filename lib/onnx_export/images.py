"""Image preprocessing in ONNX, as `prep_im_for_blob` does it."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from onnx_export.boxes import Part
from utils.images import ImageSettings


class Prepared(NamedTuple):
    """Values of an image that is ready for a net."""

    data: str           # (1, 3, height, width) float32
    im_info: str        # (1, 3) float32: height, width, scale
    image_size: str     # (2,) float32: height and width before scaling


def add_preparation(part: Part, image: str, settings: ImageSettings) -> Prepared:
    """Mean subtraction and scaling of an image (height, width, 3) uint8 in BGR order.

    Scaling follows cv2.resize, up to the rounding of its fused products (5e-5 grey levels): coordinates in float64,
    fractions in float32, columns first. ONNX's Resize would compute other sizes or, given the sizes, another scale.
    """
    pixels = part.node("Sub", part.as_floats(image), part.floats(settings.means))
    if any(std != 1 for std in settings.stds):
        pixels = part.node("Div", pixels, part.floats(settings.stds))
    lengths = part.node("Shape", image, start=0, end=2)
    scale = _scale(part, lengths, settings)
    for axis in (1, 0):
        pixels = _resized(part, pixels, axis, scale)
    data = part.node("Unsqueeze", part.node("Transpose", pixels, perm=[2, 0, 1]), part.ints(0))
    size = part.as_floats(part.node("Shape", pixels, start=0, end=2))
    info = part.node("Concat", size, part.as_floats(scale), axis=0)
    return Prepared(data, part.node("Unsqueeze", info, part.ints(0)), part.as_floats(lengths))


def _double(part: Part, number: float) -> str:
    return part.array(np.array([number], np.float64))


def _scale(part: Part, lengths: str, settings: ImageSettings) -> str:
    """`im_scale_for` of height and width, (1,) float64."""
    sides = part.typed(lengths, np.float64)
    shorter, longer = (part.reduced(op, sides, [0]) for op in ("ReduceMin", "ReduceMax"))
    by_shorter = part.node("Div", _double(part, settings.scales[0]), shorter)
    by_longer = part.node("Div", _double(part, settings.max_size), longer)
    is_too_long = part.node("Greater", part.node("Round", part.node("Mul", by_shorter, longer)),
                            _double(part, settings.max_size))
    return part.node("Where", is_too_long, by_longer, by_shorter)


def _resized(part: Part, pixels: str, axis: int, scale: str) -> str:
    """Pixels (height, width, 3) scaled along an axis: p[i] + (p[i + 1] - p[i]) f for a new pixel at i + f."""
    length = part.length(pixels, axis)
    count = part.as_ints(part.node("Round", part.node("Mul", part.typed(length, np.float64), scale)))
    new = part.node("Range", part.array(np.array(0)), part.node("Squeeze", count), part.array(np.array(1)))
    middle = part.node("Add", part.typed(new, np.float64), _double(part, 0.5))
    step = part.node("Div", _double(part, 1), scale)
    place = part.node("Sub", part.node("Mul", middle, step), _double(part, 0.5))
    whole = part.node("Floor", place)
    index, last = part.as_ints(whole), part.node("Sub", length, part.ints(1))
    is_inside = part.node("And", part.node("GreaterOrEqual", index, part.ints(0)), part.node("Less", index, last))
    fraction = part.node("Where", is_inside, part.as_floats(part.node("Sub", place, whole)), part.floats(0))
    first = part.node("Min", part.node("Max", index, part.ints(0)), last)
    second = part.node("Min", part.node("Add", first, part.ints(1)), last)
    before, after = (part.node("Gather", pixels, index, axis=axis) for index in (first, second))
    change = part.node("Mul", part.node("Sub", after, before),
                       part.node("Unsqueeze", fraction, part.ints(*range(1, 3 - axis))))
    return part.node("Add", before, change)
