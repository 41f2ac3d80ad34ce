"""Average precision as PASCAL VOC defines it.

Source: Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", 2010, section 4.2, and the
development kits of 2007 (11 points) and of 2010 and later (area under the curve).
"""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from datasets.ds_utils import covered_shares
from utils.cython_bbox import bbox_overlaps


@dataclass
class Detections:
    """Detections of one class, in the order of their file."""
    images: list[str]       # name of each detection's image
    scores: np.ndarray      # (N,)
    boxes: np.ndarray       # (N, 4), in the same coordinates as the objects


@dataclass
class Objects:
    """Annotated objects of one class in one image; difficult ones need not be found.

    regions  (R, 4) in which objects are not annotated: wrong detections there are ignored
    """
    boxes: np.ndarray       # (M, 4)
    difficult: np.ndarray   # (M,) bool
    regions: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))


def voc_ap(recall: np.ndarray, precision: np.ndarray, use_07_metric: bool = False) -> float:
    """Average precision of a precision-recall curve; NaN if recall is NaN, as there are no objects to find.

    2007: the mean, over recalls t = 0, 0.1, .. 1, of the highest precision at any recall >= t.
    Later: the area under the curve, with precision made monotonically non-increasing in recall.
    """
    if np.isnan(recall).any():
        return float("nan")
    if use_07_metric:
        # numpy.arange's own rounding of 0.3, 0.6, 0.7 is part of the metric: recall 3/10 does not reach 0.3
        return float(np.mean([precision[recall >= t].max(initial=0) for t in np.arange(0.0, 1.1, 0.1)]))
    recall = np.concatenate([[0.0], recall, [1.0]])
    precision = np.concatenate([[0.0], precision, [0.0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope[1:]))


def precision_recall(detections: Detections, objects: dict[str, Objects],
                     ovthresh: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision, (N,) each, after each detection by descending score (ties in given order).

    A detection whose best object has an IoU > ovthresh is a true positive if it is the first to find that object, a
    false positive if it is a later one, and ignored if the object is difficult. Every other detection is a false
    positive, unless more than the share ovthresh of it lies in a region without annotations: then it is ignored.
    recall = true positives so far / objects that are not difficult; NaN if there are none.
    """
    order = np.argsort(-detections.scores, kind="stable")
    names = np.asarray(detections.images, dtype=str)[order]
    best, overlap = _best_objects(names, detections.boxes[order], objects)
    hit = overlap > ovthresh
    difficult = np.array([objects[name].difficult[index] if is_hit else False
                          for name, index, is_hit in zip(names, best, hit, strict=True)], bool)
    first = np.zeros(len(order), bool)
    _, first_rows = np.unique([f"{index} {name}" for name, index in zip(names[hit], best[hit], strict=True)],
                              return_index=True)
    first[np.flatnonzero(hit)[first_rows]] = True
    right = np.cumsum(first & ~difficult).astype(np.float64)
    unknown = ~hit & (shares_in_regions(names, detections.boxes[order], objects) > ovthresh)
    wrong = np.cumsum(~difficult & ~first & ~unknown)
    positives = sum(int((~things.difficult).sum()) for things in objects.values())
    recall = right / positives if positives else np.full(len(order), np.nan)
    return recall, right / np.maximum(right + wrong, np.finfo(np.float64).eps)


def _best_objects(names: np.ndarray, boxes: np.ndarray,
                  objects: dict[str, Objects]) -> tuple[np.ndarray, np.ndarray]:
    """Index and IoU of the best object in each detection's image (IoU 0 without objects)."""
    best, overlap = np.zeros(len(names), np.int64), np.zeros(len(names))
    for name in np.unique(names):
        if name in objects and len(objects[name].boxes):
            rows = np.flatnonzero(names == name)
            iou = bbox_overlaps(boxes[rows], objects[name].boxes)
            best[rows], overlap[rows] = iou.argmax(axis=1), iou.max(axis=1)
    return best, overlap


def shares_in_regions(names: np.ndarray, boxes: np.ndarray, objects: dict[str, Objects]) -> np.ndarray:
    """(N,) share of each detection that lies in a region without annotations of its image."""
    shares = np.zeros(len(names))
    for name in {name for name, things in objects.items() if len(things.regions)}:
        rows = np.flatnonzero(names == name)
        shares[rows] = covered_shares(boxes[rows], objects[name].regions)
    return shares


def average_precision(detections: Detections, objects: dict[str, Objects], ovthresh: float = 0.5,
                      use_07_metric: bool = False) -> tuple[np.ndarray, np.ndarray, float]:
    """Recall, precision and average precision.

    Average precision is NaN if there are no objects to find, and 0 if there are, but no detections.
    """
    recall, precision = precision_recall(detections, objects, ovthresh)
    if all(things.difficult.all() for things in objects.values()):
        return recall, precision, float("nan")
    return recall, precision, voc_ap(recall, precision, use_07_metric)
