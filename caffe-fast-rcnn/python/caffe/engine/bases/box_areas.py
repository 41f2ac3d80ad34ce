"""Areas and overlaps of boxes (x1, y1, x2, y2, from corner to corner), with broadcasting, in NumPy."""
from __future__ import annotations

import numpy as np


def areas(boxes: np.ndarray) -> np.ndarray:
    """The areas (...) of boxes (..., 4); 0 if a side is negative."""
    return (boxes[..., 2:] - boxes[..., :2]).clip(0).prod(-1)


def shared_areas(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The areas of the intersections."""
    first = np.maximum(boxes[..., :2], others[..., :2])
    return (np.minimum(boxes[..., 2:], others[..., 2:]) - first).clip(0).prod(-1)


def shares_within(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The fraction of each box's area that lies within the other; 0 for boxes without area."""
    shared = shared_areas(boxes, others)
    return shared / np.where(shared > 0, areas(boxes), 1)


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union; 0 for disjoint boxes and boxes without area."""
    shared = shared_areas(boxes, others)
    return shared / np.where(shared > 0, areas(boxes) + areas(others) - shared, 1)
