"""Anchors: the reference boxes that the region proposal network scores and refines at every feature cell.

Source: Ren et al., "Faster R-CNN", section 3.1.1; py-faster-rcnn's rpn/generate_anchors.py.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from utils.layer_params import ANCHOR_BASE_SIZE, ANCHOR_RATIOS, ANCHOR_SCALES


def generate_anchors(base_size: float = ANCHOR_BASE_SIZE, ratios: Sequence[float] = ANCHOR_RATIOS,
                     scales: Sequence[float] = ANCHOR_SCALES) -> np.ndarray:
    """Anchors of the first feature cell: every ratio with every scale.

    The square (0, 0, b-1, b-1) is reshaped to each ratio r = height / width: w = round(sqrt(b * b / r)),
    h = round(w * r), halves to even. Both are then multiplied by each scale. All share the square's centre.

    base_size  side of the square in pixels
    returns    (len(ratios) * len(scales), 4) float64 boxes; the scale varies fastest
    """
    ratio = np.asarray(ratios, dtype=np.float64)
    scale = np.asarray(scales, dtype=np.float64)
    if not (base_size > 0 and ratio.size and scale.size and np.all(ratio > 0) and np.all(scale > 0)):
        raise ValueError("anchors need positive sizes: "
                         f"base_size {base_size}, ratios {ratios}, scales {scales}")
    widths = np.round(np.sqrt(base_size * base_size / ratio))
    heights = np.round(widths * ratio)
    sizes = (np.stack([widths, heights], axis=1)[:, None] * scale[:, None]).reshape(-1, 2)
    centre = (base_size - 1) / 2
    return np.hstack([centre - (sizes - 1) / 2, centre + (sizes - 1) / 2])


def shift_anchors(anchors: np.ndarray, height: int, width: int, stride: float) -> np.ndarray:
    """The anchors of every cell of a feature map.

    anchors        (A, 4) of cell (0, 0)
    height, width  of the feature map, in cells
    stride         pixels from one cell to the next
    returns        (height * width * A, 4); anchor a of cell (y, x) is row (y * width + x) * A + a
    """
    y, x = np.meshgrid(np.arange(height) * stride, np.arange(width) * stride, indexing="ij")
    shifts = np.stack([x, y, x, y], axis=-1).reshape(-1, 1, 4)
    return (shifts + anchors).reshape(-1, 4)
