"""Prepares a roidb for training: image sizes, which images are usable, and box regression targets.

The fields of an entry are described in datasets/roidb.py; this module adds `image` (path), `width`, `height`
and `bbox_targets` (N, 5) float32 = class, dx, dy, dw, dh (class 0: the RoI trains no regression).
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from datasets.roidb import Entry
from fast_rcnn.bbox_transform import bbox_transform
from utils.cython_bbox import bbox_overlaps


def prepare_roidb(imdb: Any) -> list[Entry]:
    """The data set's roidb with each image's path and size, checked; `imdb` is left as it is.

    Entries made by older code may hold `gt_overlaps` (dense or scipy.sparse) instead of max_overlaps, max_classes.
    """
    sizes = imdb.image_sizes()
    roidb = []
    for index, (entry, (width, height)) in enumerate(zip(imdb.roidb, sizes, strict=True)):
        entry = {**entry, "image": imdb.image_path_at(index), "width": width, "height": height}
        if "max_overlaps" not in entry:
            entry.update(_best_class(entry.pop("gt_overlaps")))
        _check_entry(entry)
        roidb.append(entry)
    return roidb


def _best_class(overlaps: Any) -> Entry:
    dense = np.asarray(overlaps.toarray() if hasattr(overlaps, "toarray") else overlaps)
    return {"max_overlaps": dense.max(axis=1, initial=0).astype(np.float32),
            "max_classes": dense.argmax(axis=1).astype(np.int32)}


def _check_entry(entry: Entry) -> None:
    overlaps, classes = entry["max_overlaps"], entry["max_classes"]
    if np.any((overlaps > 0) != (classes > 0)):
        raise ValueError(f"{entry['image']}: a RoI must have a class other than background exactly if it "
                         "overlaps an object (max_overlaps and max_classes disagree)")


def filter_roidb(roidb: Sequence[Entry], train: Any) -> list[Entry]:
    """Entries with a RoI that can be foreground or background by `train` (cfg.TRAIN)."""
    return [entry for entry in roidb if is_usable(entry["max_overlaps"], train)]


def is_usable(overlaps: np.ndarray, train: Any) -> bool:
    """Whether any overlap is >= FG_THRESH or lies in [BG_THRESH_LO, BG_THRESH_HI)."""
    background = (overlaps >= train.BG_THRESH_LO) & (overlaps < train.BG_THRESH_HI)
    return bool(np.any(background | (overlaps >= train.FG_THRESH)))


def add_bbox_regression_targets(roidb: Sequence[Entry], num_classes: int,
                                train: Any) -> tuple[np.ndarray, np.ndarray]:
    """Give every entry its `bbox_targets`; if BBOX_NORMALIZE_TARGETS, (target - mean) / std per class.

    train    cfg.TRAIN: BBOX_THRESH and the BBOX_NORMALIZE_* keys
    returns  means and stds, (4 * num_classes,) float64: BBOX_NORMALIZE_MEANS and _STDS for every class if
             ..._PRECOMPUTED, else those of the targets found (population standard deviation; see `target_statistics`)
    """
    raw = [compute_targets(entry["boxes"], entry["max_overlaps"], entry["max_classes"], train.BBOX_THRESH)
           for entry in roidb]
    if train.BBOX_NORMALIZE_TARGETS_PRECOMPUTED:
        means = np.tile(np.asarray(train.BBOX_NORMALIZE_MEANS, np.float64), (num_classes, 1))
        stds = np.tile(np.asarray(train.BBOX_NORMALIZE_STDS, np.float64), (num_classes, 1))
    else:
        means, stds = target_statistics(np.concatenate(raw), num_classes)
    for entry, targets in zip(roidb, raw, strict=True):
        entry["bbox_targets"] = (normalize_targets(targets, means, stds) if train.BBOX_NORMALIZE_TARGETS
                                 else targets)
    return means.ravel(), stds.ravel()


def compute_targets(rois: np.ndarray, overlaps: np.ndarray, classes: np.ndarray,
                    threshold: float) -> np.ndarray:
    """(N, 5) float32: class, dx, dy, dw, dh towards the best object, for IoU >= threshold.

    Objects are the RoIs whose overlap is exactly 1; without any, and for all other RoIs, rows are 0.
    """
    targets = np.zeros((len(rois), 5), np.float32)
    objects, examples = np.flatnonzero(overlaps == 1), np.flatnonzero(overlaps >= threshold)
    if len(objects) and len(examples):
        best = objects[bbox_overlaps(rois[examples], rois[objects]).argmax(axis=1)]
        targets[examples, 0] = classes[examples]
        targets[examples, 1:] = bbox_transform(rois[examples], rois[best])
    return targets


def target_statistics(targets: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the targets of each class, (num_classes, 4) float64.

    A class without examples has mean and deviation 0.
    """
    means, stds = np.zeros((num_classes, 4)), np.zeros((num_classes, 4))
    for label in range(1, num_classes):
        values = targets[targets[:, 0] == label, 1:].astype(np.float64)
        if len(values):
            means[label], stds[label] = values.mean(axis=0), values.std(axis=0)
    return means, stds


def normalize_targets(targets: np.ndarray, means: np.ndarray, stds: np.ndarray) -> np.ndarray:
    """(target - mean) / std by the class of each row; rows of class 0 stay 0."""
    labels = targets[:, 0].astype(np.int64)
    normal = targets.copy()
    normal[:, 1:] = (targets[:, 1:] - means[labels]) / safe_stds(stds)[labels]
    normal[labels == 0, 1:] = 0
    return normal


def safe_stds(stds: np.ndarray) -> np.ndarray:
    """Deviations to divide by: 1 instead of 0.

    A class seen only as exact objects has targets that are all 0. py-faster-rcnn divides them by 0, which makes NaN;
    divided by 1 they stay the 0 that they are.
    """
    return np.where(stds > 0, stds, 1.0)
