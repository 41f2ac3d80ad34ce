"""Greedy non-maximum suppression on the CPU: the engine's if available, else NumPy."""
from __future__ import annotations

import math

import numpy as np

import caffe
from nms.py_cpu_nms import py_cpu_nms
from utils.other_caffe import has_nms


def cpu_nms(dets: np.ndarray, thresh: float, max_keep: int = 0) -> list[int]:
    """Keep the best boxes and drop those that overlap a kept one with an IoU of at least `thresh`.

    dets      (N, 5) array of x1, y1, x2, y2, score; corners are inclusive pixels; computed in float32
    thresh    compared in double with the float32 IoU
    max_keep  stop after this many boxes; 0 for no limit

    Returns the kept indices in descending score; ties by index. A box whose score is NaN is never kept. Boxes that do
    not intersect have IoU 0, even without an area. Raises ValueError for another shape or a threshold that is NaN.
    """
    dets = np.asarray(dets, dtype=np.float32)
    if dets.ndim != 2 or dets.shape[1] < 5:
        raise ValueError(f"cpu_nms: dets must be of shape (N, 5), got {dets.shape}")
    if math.isnan(thresh):
        raise ValueError("cpu_nms: thresh is NaN")
    if has_nms():
        return caffe.nms(dets, just_below(thresh), max_keep).tolist()
    return py_cpu_nms(dets, just_below(thresh))[:max_keep or None]


def just_below(thresh: float) -> float:
    """The largest float32 below `thresh`: for a float32 x, x >= thresh is the same as x > that number."""
    thresh = min(thresh, 2)         # no IoU is above 1, and infinity has no float32 after it
    limit = np.float32(thresh)
    if limit < np.float64(thresh):      # rounded down: already the largest one
        return float(limit)
    return float(np.nextafter(limit, np.float32(-np.inf)))
