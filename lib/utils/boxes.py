"""Sizes and areas of boxes x1, y1, x2, y2 in inclusive pixels: a width is x2 - x1 + 1."""
from __future__ import annotations

import numpy as np


def box_sizes(boxes: np.ndarray) -> np.ndarray:
    """(..., 2) width and height of boxes (..., 4 or more)."""
    return boxes[..., 2:4] - boxes[..., :2] + 1


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """(...) areas of boxes (..., 4 or more)."""
    return box_sizes(boxes).prod(axis=-1)
