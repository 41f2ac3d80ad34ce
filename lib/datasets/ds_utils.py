"""Small operations on lists of boxes."""
from __future__ import annotations

import numpy as np

from utils.boxes import box_areas, box_sizes


def unique_boxes(boxes: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Ascending indices of the first box of each group of boxes that are equal after round(box * scale)."""
    _, first = np.unique(np.round(boxes * scale), axis=0, return_index=True)
    return np.sort(first)


def xywh_to_xyxy(boxes: np.ndarray) -> np.ndarray:
    """(x, y, width, height) to inclusive corners: x2 = x + width - 1."""
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:4] - 1])


def xyxy_to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Inclusive corners to (x, y, width, height)."""
    return np.hstack([boxes[:, :2], box_sizes(boxes)])


def validate_boxes(boxes: np.ndarray, width: float = 0, height: float = 0) -> None:
    """Raise ValueError for a box (N, 4) with swapped corners, or that leaves an image of this size in pixels."""
    x1, y1, x2, y2 = np.asarray(boxes).T
    wrong = np.flatnonzero((x1 < 0) | (y1 < 0) | (x2 < x1) | (y2 < y1) | (x2 >= width) | (y2 >= height))
    if len(wrong):
        raise ValueError(f"box {wrong[0]}, {boxes[wrong[0]].tolist()}, does not fit an image of {width:g} x {height:g} "
                         "pixels: expected 0 <= x1 <= x2 < width, 0 <= y1 <= y2 < height")


def filter_small_boxes(boxes: np.ndarray, min_size: float) -> np.ndarray:
    """Indices of boxes with x2 - x1 >= min_size and y2 - y1 > min_size.

    The two limits differ by less than a pixel, as in py-faster-rcnn, whose published results depend on it.
    """
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return np.flatnonzero((width >= min_size) & (height > min_size))


def edges_to_corners(edges: np.ndarray) -> np.ndarray:
    """Convert edges x1, y1, x2, y2 of boxes (N, 4) to inclusive corners: pixel 0 lies between the edges 0 and 1.

    Swapped edges yield swapped corners, and edges less than a pixel apart yield equal corners.
    """
    first, last = edges[:, :2], edges[:, 2:]
    swapped = last < first
    return np.hstack([np.where(swapped, np.maximum(first - 1, last), first),
                      np.where(swapped, last, np.maximum(last - 1, first))])


def extents_to_corners(extents: np.ndarray) -> np.ndarray:
    """Convert edges x1, y1 and width, height of boxes (N, 4) to inclusive corners; see `edges_to_corners`."""
    return edges_to_corners(np.hstack([extents[:, :2], extents[:, :2] + extents[:, 2:]]))


def covered_shares(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """(N,) largest share of the area of each box (N, 4) that lies in one region (M, 4); 0 without regions."""
    if not len(regions):
        return np.zeros(len(boxes))
    low = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = np.minimum(boxes[:, None, 2:4], regions[None, :, 2:4])
    common = np.prod(np.maximum(high - low + 1, 0), axis=2).max(axis=1)
    return common / box_areas(boxes)
