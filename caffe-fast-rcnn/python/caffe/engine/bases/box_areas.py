"""Areas of boxes (x1, y1, x2, y2, from corner to corner) that broadcast, as NumPy arrays."""
from __future__ import annotations

import numpy as np


def areas(boxes: np.ndarray) -> np.ndarray:
    """Areas of boxes (..., 4), (...); 0 where a side is negative."""
    return (boxes[..., 2:] - boxes[..., :2]).clip(0).prod(-1)


def shared_areas(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Areas of the intersections."""
    first = np.maximum(boxes[..., :2], others[..., :2])
    return (np.minimum(boxes[..., 2:], others[..., 2:]) - first).clip(0).prod(-1)


def shares_within(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The share of the area of boxes that lies within others; 0 for boxes without area."""
    shared = shared_areas(boxes, others)
    return shared / np.where(shared > 0, areas(boxes), 1)


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union; 0 for boxes that do not meet or have no area."""
    shared = shared_areas(boxes, others)
    return shared / np.where(shared > 0, areas(boxes) + areas(others) - shared, 1)
