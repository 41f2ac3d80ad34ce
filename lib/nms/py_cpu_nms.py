"""Greedy non-maximum suppression in NumPy: slow but easy to read."""
from __future__ import annotations

import numpy as np


def py_cpu_nms(dets: np.ndarray, thresh: float) -> list[int]:
    """Keep the best boxes and drop those that overlap a kept one with an IoU of more than `thresh`.

    dets    (N, 5) array of x1, y1, x2, y2, score; corners are inclusive pixels; computed in float32
    thresh  rounded to float32

    Returns the kept indices in descending score; ties by index. A box whose score is NaN is never kept. Boxes that do
    not intersect have IoU 0, even without an area.
    """
    dets = np.asarray(dets, dtype=np.float32)
    boxes, scores, limit = dets[:, :4], dets[:, 4], np.float32(thresh)
    order = np.argsort(-scores, kind="stable")
    order = order[~np.isnan(scores[order])]
    keep = []
    while order.size:
        best, rest = order[0], order[1:]
        keep.append(int(best))
        order = rest[_iou(boxes[best], boxes[rest]) <= limit]
    return keep


def _iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of one box with (N, 4) others."""
    def area(corners: np.ndarray) -> np.ndarray:
        return (corners[..., 2] - corners[..., 0] + 1) * (corners[..., 3] - corners[..., 1] + 1)

    size = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]) + 1
    shared = np.where(size > 0, size, 0).prod(axis=1)
    union = area(box) + area(others) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
