"""Entries of a roidb: the RoIs of one image each, and the operations that combine and mirror them.

An entry is a dictionary, or behaves like one (see lazy_roidb.py). N RoIs (annotated objects first, then proposals):

    boxes         (N, 4) float32, x1, y1, x2, y2: zero-based inclusive pixel corners in the original image
    gt_classes    (N,) int32, class of an annotated object, 0 for a proposal
    max_overlaps  (N,) float32, highest IoU with an object of the image, 1 for an object
    max_classes   (N,) int32, class of that object, 0 if no object overlaps
    seg_areas     (N,) float32, area of an object in pixels, 0 for a proposal
    flipped       whether boxes are in coordinates of the mirrored image
    ignored       (M, 4) float32, optional: boxes that are neither objects nor, with TRAIN.IGNORED_OVERLAP, background
"""
from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import numpy as np

from utils.boxes import box_areas
from utils.cython_bbox import bbox_overlaps

Entry = MutableMapping[str, Any]

PER_ROI = ("boxes", "gt_classes", "max_overlaps", "max_classes", "seg_areas")


def completed(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entry with all fields above; one written for py-faster-rcnn may lack some.

    Instead of max_overlaps and max_classes it holds `gt_overlaps` (N, K), dense or scipy.sparse, with rows of -1 for
    RoIs that are neither foreground nor background. Boxes may be integers, and seg_areas may be missing.
    """
    if "gt_overlaps" not in entry or "max_overlaps" in entry:
        return entry
    fields = dict(entry)
    overlaps = fields.pop("gt_overlaps")
    overlaps = np.asarray(overlaps.toarray() if hasattr(overlaps, "toarray") else overlaps)
    fields.update(boxes=np.asarray(entry["boxes"], np.float32), max_overlaps=overlaps.max(axis=1).astype(np.float32),
                  max_classes=overlaps.argmax(axis=1).astype(np.int32))
    fields.setdefault("seg_areas", np.where(fields["max_overlaps"] == 1, box_areas(fields["boxes"]), 0))
    return fields


def objects_entry(boxes: np.ndarray, classes: np.ndarray, ignored: np.ndarray | None = None) -> Entry:
    """Entry of annotated objects only; `boxes` (N, 4), `classes` (N,) in 1 .. K-1, `ignored` (M, 4)."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    classes = np.asarray(classes, np.int32).reshape(-1)
    entry = {"boxes": boxes, "gt_classes": classes, "max_overlaps": np.ones(len(boxes), np.float32),
             "max_classes": classes.copy(), "seg_areas": box_areas(boxes), "flipped": False}
    return entry if ignored is None else {**entry, "ignored": np.asarray(ignored, np.float32).reshape(-1, 4)}


def proposals_entry(boxes: np.ndarray, objects: Mapping[str, Any] | None = None) -> Entry:
    """Entry of proposals (N, 4), labelled by the object each overlaps most (the first one if tied)."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    overlaps, classes = np.zeros(len(boxes), np.float32), np.zeros(len(boxes), np.int32)
    if objects is not None and len(objects["boxes"]) and len(boxes):
        iou = bbox_overlaps(boxes, objects["boxes"])
        best = iou.argmax(axis=1)
        overlaps = iou[np.arange(len(iou)), best].astype(np.float32)    # iou.max(axis=1) would take most of the time
        classes = np.where(overlaps > 0, objects["gt_classes"][best], 0).astype(np.int32)
    return {"boxes": boxes, "gt_classes": np.zeros(len(boxes), np.int32), "max_overlaps": overlaps,
            "max_classes": classes, "seg_areas": np.zeros(len(boxes), np.float32), "flipped": False}


def merge_entries(first: Mapping[str, Any], second: Mapping[str, Any]) -> Entry:
    """The RoIs of two entries of one image as a new entry."""
    return {**second, **first, **{key: np.concatenate([first[key], second[key]]) for key in PER_ROI}}


def mirror(entry: Mapping[str, Any], width: int) -> Entry:
    """The entry of the mirrored image: x1' = width - x2 - 1, x2' = width - x1 - 1."""
    return {**entry, **_mirrored(entry, width, 0), "flipped": not entry["flipped"]}


def turn_over(entry: Mapping[str, Any], height: int) -> Entry:
    """The entry of the vertically flipped image: y1' = height - y2 - 1, y2' = height - y1 - 1."""
    return {**entry, **_mirrored(entry, height, 1), "upside_down": True}


def _mirrored(entry: Mapping[str, Any], size: int, axis: int) -> Entry:
    return {key: mirror_boxes(entry[key], size, axis) for key in ("boxes", "ignored") if key in entry}


def mirror_boxes(boxes: np.ndarray, size: int, axis: int = 0) -> np.ndarray:
    """Boxes (N, 4) flipped horizontally (axis 0, `size` is the image's width) or vertically (axis 1, its height)."""
    mirrored = boxes.copy()
    mirrored[:, axis] = size - boxes[:, axis + 2] - 1
    mirrored[:, axis + 2] = size - boxes[:, axis] - 1
    return mirrored
