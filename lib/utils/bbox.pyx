# distutils: language = c++
# cython: boundscheck=False, wraparound=False, cdivision=True
"""Overlaps between two sets of boxes."""
import numpy as np


def bbox_overlaps(boxes, query_boxes):
    """Intersection over union of every box with every query box.

    boxes        (N, 4) array of x1, y1, x2, y2, inclusive pixel corners: a width is x2 - x1 + 1
    query_boxes  (M, 4) array of the same

    Returns a float64 array (N, M); 0 where two boxes do not intersect.
    """
    boxes = np.ascontiguousarray(boxes, dtype=np.float64)
    query_boxes = np.ascontiguousarray(query_boxes, dtype=np.float64)
    for name, array in (("boxes", boxes), ("query_boxes", query_boxes)):
        if array.ndim != 2 or array.shape[1] < 4:
            raise ValueError(f"bbox_overlaps: {name} must have the shape (N, 4), got {array.shape}")
    overlaps = np.zeros((boxes.shape[0], query_boxes.shape[0]), dtype=np.float64)
    if overlaps.size:
        _overlaps(boxes, query_boxes, overlaps)
    return overlaps


def _overlaps(const double[:, ::1] boxes, const double[:, ::1] query_boxes, double[:, ::1] overlaps):
    cdef Py_ssize_t n, m
    cdef double area, query_area, width, height
    with nogil:
        for m in range(query_boxes.shape[0]):
            query_area = _side(query_boxes[m, 0], query_boxes[m, 2]) * _side(query_boxes[m, 1], query_boxes[m, 3])
            for n in range(boxes.shape[0]):
                width = _side(max(boxes[n, 0], query_boxes[m, 0]), min(boxes[n, 2], query_boxes[m, 2]))
                height = _side(max(boxes[n, 1], query_boxes[m, 1]), min(boxes[n, 3], query_boxes[m, 3]))
                if width > 0 and height > 0:
                    area = _side(boxes[n, 0], boxes[n, 2]) * _side(boxes[n, 1], boxes[n, 3])
                    overlaps[n, m] = width * height / (area + query_area - width * height)


cdef inline double _side(double low, double high) noexcept nogil:
    return high - low + 1
