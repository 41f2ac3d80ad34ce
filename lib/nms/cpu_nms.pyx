# distutils: language = c++
# cython: boundscheck=False, wraparound=False
"""Greedy non-maximum suppression on the CPU."""
import numpy as np


cdef extern from "<math.h>":
    pass
cdef extern from "nms_cpu.h" nogil:
    int nms_sweep(const float*, int, float, int, int*, float*)


def cpu_nms(dets, thresh, int max_keep=0):
    """Keep the best boxes and drop those that overlap a kept one with an IoU of at least `thresh`.

    dets      (N, 5) array of x1, y1, x2, y2, score; corners are inclusive pixels; computed in float32
    thresh    compared in double with the float32 IoU
    max_keep  stop after so many boxes; 0 for no limit

    Returns the list of the kept indices in descending score. Of equal scores the lower index comes first. A box whose
    score is NaN is never kept. Boxes that do not meet have IoU 0, also those without an area.
    """
    dets = np.asarray(dets, dtype=np.float32)
    if dets.ndim != 2 or dets.shape[1] < 5:
        raise ValueError(f"cpu_nms: dets must be of shape (N, 5), got {dets.shape}")
    if not thresh == thresh:
        raise ValueError("cpu_nms: thresh is NaN")
    scores = dets[:, 4]
    order = np.argsort(-scores, kind="stable")[:np.count_nonzero(~np.isnan(scores))]   # NaN is sorted last
    limit = np.float32(thresh)
    if limit < np.float64(thresh):   # the least float32 that is >= thresh
        limit = np.nextafter(limit, np.float32(np.inf))
    return order[_sweep(np.ascontiguousarray(dets[order, :4]), limit, max_keep or len(order))].tolist()


def _sweep(const float[:, ::1] boxes, float limit, int max_keep):
    cdef int count = <int>boxes.shape[0]
    max_keep = min(max_keep, count)
    kept = np.empty(max_keep, np.int32)
    if max_keep <= 0:
        return kept
    cdef int[::1] positions = kept
    cdef float[::1] scratch = np.empty(5 * max_keep, np.float32)
    with nogil:
        count = nms_sweep(&boxes[0, 0], count, limit, max_keep, &positions[0], &scratch[0])
    return kept[:count]
