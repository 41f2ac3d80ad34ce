"""Recall: the fraction of annotated objects found by a set of proposals."""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from datasets.coco_ap import ANY_AREA, AREAS
from datasets.lazy_roidb import as_dict
from datasets.roidb import Entry
from utils.cython_bbox import bbox_overlaps

# Areas of objects in square pixels, from and to, inclusive
AREA_RANGES = {"all": ANY_AREA, **AREAS, "96-128": (96.0 ** 2, 128.0 ** 2), "128-256": (128.0 ** 2, 256.0 ** 2),
               "256-512": (256.0 ** 2, 512.0 ** 2), "512-inf": (512.0 ** 2, math.inf)}


def evaluate_recall(roidb: Sequence[Entry], candidate_boxes: Sequence[np.ndarray] | None = None,
                    thresholds: np.ndarray | None = None, area: str = "all",
                    limit: int | None = None) -> dict[str, np.ndarray | float]:
    """Recall of objects by proposals, matched one to one in order of IoU.

    roidb            entries with the objects and, unless given as `candidate_boxes` (per image, best first), the
                     proposals
    thresholds       minimum IoU of a match; default: 0.5, 0.55, .. 0.95
    area             one of AREA_RANGES: only objects of this size count
    limit            most proposals to use per image
    returns          `recalls` at the `thresholds`, their mean `ar`, and `gt_overlaps`, the objects' IoUs, ascending
    Raises ValueError for an unknown `area`.
    """
    if area not in AREA_RANGES:
        raise ValueError(f"unknown area {area!r}: choose one of {', '.join(AREA_RANGES)}")
    if thresholds is None:
        thresholds = np.arange(0.5, 0.95 + 1e-5, 0.05)
    low, high = AREA_RANGES[area]
    overlaps = [np.zeros(0)]
    for index, entry in enumerate(map(as_dict, roidb)):
        objects = ((entry["gt_classes"] > 0) & (entry["max_overlaps"] == 1)
                   & (entry["seg_areas"] >= low) & (entry["seg_areas"] <= high))
        proposals = entry["boxes"][entry["gt_classes"] == 0]
        boxes = proposals if candidate_boxes is None else candidate_boxes[index]
        overlaps.append(match_greedily(bbox_overlaps(boxes[:limit], entry["boxes"][objects])))
    found = np.sort(np.concatenate(overlaps))
    recalls = np.array([np.mean(found >= threshold) if len(found) else np.nan for threshold in thresholds])
    return {"ar": float(recalls.mean()), "recalls": recalls, "thresholds": thresholds, "gt_overlaps": found}


def match_greedily(overlaps: np.ndarray) -> np.ndarray:
    """IoU of each object's match: the pair of highest IoU is matched first, and both are removed.

    overlaps  (boxes, objects); returns (objects,), 0 for an unmatched object
    """
    overlaps, found = overlaps.copy(), np.zeros(overlaps.shape[1])
    for _ in range(min(overlaps.shape)):
        box, thing = np.unravel_index(overlaps.argmax(), overlaps.shape)
        found[thing] = overlaps[box, thing]
        overlaps[box, :] = overlaps[:, thing] = -1
    return found
