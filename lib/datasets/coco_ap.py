"""Average precision as COCO defines it, at ten IoU thresholds.

Source: Lin et al., "Microsoft COCO: Common Objects in Context", 2014, and the evaluation of https://cocodataset.org.
"""
from __future__ import annotations

import math

import numpy as np

from datasets.average_precision import Detections, Objects, shares_in_regions
from utils.boxes import box_areas
from utils.cython_bbox import bbox_overlaps

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MAX_DETECTIONS = 100        # per class and image, by descending score
# Areas in square pixels, from and to, inclusive
ANY_AREA = (0.0, math.inf)
AREAS = {"small": (0.0, 32.0 ** 2), "medium": (32.0 ** 2, 96.0 ** 2), "large": (96.0 ** 2, math.inf)}


def coco_aps(detections: Detections, objects: dict[str, Objects],
             area: tuple[float, float] = ANY_AREA) -> np.ndarray:
    """Average precision of one class at each of IOU_THRESHOLDS, (10,) float64; NaN if no object counts.

    It is the mean, over recalls t = 0, 0.01, .. 1, of the highest precision at any recall >= t. Difficult objects and
    detections that are matched to them are ignored (see `match`). So are unmatched detections if at least the
    threshold's share of them lies in a region without annotations.

    area  range of the areas that count: other objects are treated as difficult, and unmatched detections of other
          areas are ignored
    """
    if area != ANY_AREA:
        objects = {name: Objects(things.boxes, things.difficult | ~_in_range(things.boxes, area), things.regions)
                   for name, things in objects.items()}
    positives = sum(int((~things.difficult).sum()) for things in objects.values())
    if not positives:
        return np.full(len(IOU_THRESHOLDS), np.nan)
    order = np.argsort(-detections.scores, kind="stable")
    images, boxes = np.asarray(detections.images, dtype=str)[order], detections.boxes[order]
    kept, found, ignored = _matched(images, boxes, objects)
    unknown = shares_in_regions(images, boxes, objects)[:, None] >= IOU_THRESHOLDS
    ignored |= ~found & (unknown | ~_in_range(boxes, area)[:, None])
    right = np.cumsum((found & ~ignored)[kept], axis=0).T.astype(np.float64)
    wrong = np.cumsum((~found & ~ignored)[kept], axis=0).T
    return np.array([_interpolated(hits / positives, hits / np.maximum(hits + misses, 1))
                     for hits, misses in zip(right, wrong, strict=True)])


def _in_range(boxes: np.ndarray, area: tuple[float, float]) -> np.ndarray:
    areas = box_areas(boxes)
    return (areas >= area[0]) & (areas <= area[1])


def _interpolated(recall: np.ndarray, precision: np.ndarray) -> float:
    """Mean over RECALLS of the highest precision at that or any higher recall, 0 if there is none."""
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0)
    return float(envelope[np.searchsorted(recall, RECALLS)].mean())


def _matched(names: np.ndarray, boxes: np.ndarray,
             objects: dict[str, Objects]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Match the detections of each image, by descending score, to its objects.

    returns  kept (N,): among the first MAX_DETECTIONS of the image; found and ignored (N, thresholds), see `match`
    """
    shape = len(names), len(IOU_THRESHOLDS)
    kept, found, ignored = np.zeros(len(names), bool), np.zeros(shape, bool), np.zeros(shape, bool)
    images, numbers = np.unique(names, return_inverse=True)
    by_image = np.argsort(numbers, kind="stable")
    first = np.searchsorted(numbers[by_image], range(len(images) + 1))
    for name, start, end in zip(images, first, first[1:], strict=False):
        best, things = by_image[start:end][:MAX_DETECTIONS], objects.get(str(name))
        kept[best] = True
        if things is not None and len(things.boxes):
            found[best], ignored[best] = match(bbox_overlaps(boxes[best], things.boxes), things.difficult)
    return kept, found, ignored


def match(overlaps: np.ndarray, difficult: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Match the detections of an image to its objects, one to one, at each of IOU_THRESHOLDS.

    Each detection in turn takes the object with the highest IoU (the last one if tied) among those that are free and
    reach the threshold; objects that are not difficult take precedence over difficult ones.

    overlaps   (N, M) IoU, detections by descending score
    difficult  (M,) bool
    returns    found (N, thresholds): matched to an object; ignored (N, thresholds): to a difficult one
    """
    found = np.zeros((len(overlaps), len(IOU_THRESHOLDS)), bool)
    ignored, free = found.copy(), np.ones((len(IOU_THRESHOLDS), overlaps.shape[1]), bool)
    for row in np.flatnonzero(overlaps.max(axis=1) >= IOU_THRESHOLDS[0]):
        best_first = np.lexsort((overlaps[row], ~difficult))[::-1]
        possible = (free & (overlaps[row] >= IOU_THRESHOLDS[:, None]))[:, best_first]
        found[row] = possible.any(axis=1)
        taken = best_first[possible.argmax(axis=1)]
        free[found[row], taken[found[row]]] = False
        ignored[row] = found[row] & difficult[taken]
    return found, ignored
