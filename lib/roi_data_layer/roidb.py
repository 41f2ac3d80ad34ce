"""Prepares a roidb for training: image sizes, filtering of usable images, and box regression targets.

The fields of an entry are described in datasets/roidb.py; this module adds `image` (path), `width`, `height`,
`bbox_targets` (N, 5) float32 = class, dx, dy, dw, dh (class 0: the RoI trains no regression), with TRAIN.CROP also
`target_rule`, the `TargetRule` that computes them. Entries of vertically flipped images have `upside_down`: True.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from datasets.imdb import imdb as Imdb
from datasets.lazy_roidb import LazyEntry, annotated, derived_roidb
from datasets.roidb import Entry, turn_over
from datasets.source import OF_A_CACHE, DatasetError
from fast_rcnn.bbox_transform import bbox_transform, num_box_classes, safe_stds
from fast_rcnn.config import Config
from roi_data_layer.sampling import RoISettings, is_usable, on_ignored
from utils.cython_bbox import bbox_overlaps
from utils.errors import CheckError
from utils.timer import with_progress


def prepare_roidb(imdb: Imdb) -> list[Entry]:
    """The data set's roidb with each image's path and size, checked; `imdb` is not changed.

    Entries written for py-faster-rcnn are converted, see `datasets.roidb.completed`. Raises CheckError that names the
    image for boxes with swapped corners, and for unknown classes; for entries that are computed on access, then.
    """
    entries, sizes = list(imdb.roidb), np.array(imdb.image_sizes(), np.int64).reshape(-1, 2)
    if len(entries) != len(sizes):
        raise DatasetError(f"the roidb has {len(entries)} entries, the data set {len(sizes)} images{OF_A_CACHE}")
    images = [imdb.image_path_at(index) for index in range(len(sizes))]
    num_classes = getattr(imdb, "num_classes", math.inf)        # objects that only look like an imdb may not say
    return derived_roidb(
        entries, lambda entry, row: _prepare(entry, images[row], num_classes, *sizes[row].tolist()),
        {"image": images.__getitem__, "width": lambda row: int(sizes[row, 0]),
         "height": lambda row: int(sizes[row, 1]), "flipped": lambda row: entries[row]["flipped"]})


def upside_down_roidb(roidb: Sequence[Entry]) -> list[Entry]:
    """Prepared entries of the vertically flipped images."""
    entries = list(roidb)
    quick: dict[str, Callable[[int], Any]] = {
        key: partial(lambda key, row: entries[row][key], key) for key in ("image", "width", "height", "flipped")}
    return derived_roidb(entries, lambda entry, row: turn_over(entry, entry["height"]),
                         {**quick, "upside_down": lambda row: True})


def _prepare(entry: dict[str, Any], image: str, num_classes: float, width: int, height: int) -> Entry:
    entry = {**entry, "image": image, "width": width, "height": height}
    _check_entry(entry, num_classes)
    return entry


def _check_entry(entry: Mapping[str, Any], num_classes: float) -> None:
    """Raise CheckError that names the image for boxes or classes that cannot be trained on."""
    boxes, overlaps, classes = entry["boxes"], entry["max_overlaps"], entry["max_classes"]
    right = ((boxes[:, 2:] >= boxes[:, :2]) & np.isfinite(boxes[:, 2:] - boxes[:, :2])).all(axis=1)
    wrong = np.flatnonzero(~right & (overlaps == 1))        # objects: the targets of all other boxes
    if len(wrong):
        raise CheckError(f"{entry['image']}: box {wrong[0]} is {boxes[wrong[0]].tolist()}: expected x1 <= x2 and "
                         "y1 <= y2 (a corner of -1 becomes 65535 in unsigned integers)")
    if classes.max(initial=0) >= num_classes:
        raise CheckError(f"{entry['image']}: a RoI has the class {classes.max()}, but the data set has {num_classes} "
                         "classes, counted from 0, the background")
    if np.any((overlaps > 0) != (classes > 0)):
        raise CheckError(f"{entry['image']}: a RoI must have a class other than background exactly if it "
                         "overlaps an object (max_overlaps and max_classes disagree)")


def usable_entries(roidb: Sequence[Entry], settings: RoISettings) -> list[Entry]:
    """Keep the entries that have a foreground or background RoI."""
    return [entry for entry in with_progress("images with usable RoIs", roidb)
            if (is_usable(annotated(entry)["max_overlaps"], settings) and not settings.ignored_overlap)
            or is_usable(entry["max_overlaps"], settings, ignored_rois(entry, settings))]


def ignored_rois(entry: Mapping[str, Any], settings: RoISettings) -> np.ndarray | None:
    """Whether each RoI of an entry lies on an ignored box, see `on_ignored`; None if there is nothing to ignore."""
    if not settings.ignored_overlap:
        return None
    return on_ignored(entry["boxes"], entry.get("ignored"), settings.ignored_overlap)


@dataclass(frozen=True)
class TargetRule:
    """How the regression targets of entries are computed.

    threshold   minimum IoU of an example
    agnostic    all objects are of class 1
    statistics  means and stds of each class, (num_classes, 4) each; None: targets are not normalised
    """

    threshold: float
    agnostic: bool = False
    statistics: tuple[np.ndarray, np.ndarray] | None = None

    def targets(self, entry: Mapping[str, Any]) -> np.ndarray:
        """The `bbox_targets` of an entry."""
        classes = np.minimum(entry["max_classes"], 1) if self.agnostic else entry["max_classes"]
        raw = compute_targets(entry["boxes"], entry["max_overlaps"], classes, self.threshold)
        return raw if self.statistics is None else normalize_targets(raw, *self.statistics)


def add_bbox_regression_targets(roidb: Sequence[Entry], num_classes: int,
                                train: Config) -> tuple[np.ndarray, np.ndarray]:
    """Add `bbox_targets` to every entry; if BBOX_NORMALIZE_TARGETS, (target - mean) / std per class.

    train    the current cfg.TRAIN: BBOX_THRESH and the BBOX_NORMALIZE_* keys; with AGNOSTIC all objects are of class 1
             of two, with CROP `target_rule` is added too
    returns  means and stds, (4 * num_classes,) float64: BBOX_NORMALIZE_MEANS and _STDS for every class if
             ..._PRECOMPUTED, else those of the targets found (population standard deviation; see `target_statistics`)
    """
    num_classes = num_box_classes(num_classes, train.AGNOSTIC)
    raw = TargetRule(train.BBOX_THRESH, train.AGNOSTIC)
    if train.BBOX_NORMALIZE_TARGETS_PRECOMPUTED:
        means = np.tile(np.asarray(train.BBOX_NORMALIZE_MEANS, np.float64), (num_classes, 1))
        stds = np.tile(np.asarray(train.BBOX_NORMALIZE_STDS, np.float64), (num_classes, 1))
    else:
        means, stds = target_statistics(
            lambda what: (raw.targets(entry) for entry in with_progress(f"box regression {what}", roidb)), num_classes)
    rule = replace(raw, statistics=(means, stds)) if train.BBOX_NORMALIZE_TARGETS else raw
    added: dict[str, Callable[[Any], Any]] = {"bbox_targets": rule.targets}
    if train.CROP:
        added["target_rule"] = lambda entry: rule
    for entry in roidb:
        if isinstance(entry, LazyEntry):
            entry.defer(added)
        else:
            entry.update({key: function(entry) for key, function in added.items()})
    return means.ravel(), stds.ravel()


def compute_targets(rois: np.ndarray, overlaps: np.ndarray, classes: np.ndarray,
                    threshold: float) -> np.ndarray:
    """(N, 5) float32: class, dx, dy, dw, dh towards the best object, for IoU >= threshold.

    Objects are the RoIs whose overlap is exactly 1. Rows of other RoIs, and all rows without objects, are 0.
    """
    targets = np.zeros((len(rois), 5), np.float32)
    objects, examples = np.flatnonzero(overlaps == 1), np.flatnonzero(overlaps >= threshold)
    if len(objects) and len(examples):
        best = objects[bbox_overlaps(rois[examples], rois[objects]).argmax(axis=1)]
        targets[examples, 0] = classes[examples]
        targets[examples, 1:] = bbox_transform(rois[examples], rois[best])
    return targets


def target_statistics(targets: Callable[[str], Iterable[np.ndarray]],
                      num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the targets of each class, (num_classes, 4) float64.

    targets  returns the targets (N, 5) of each image in turn; called twice, with the statistic to compute.
    The targets are never in memory together. The results equal NumPy's `mean` and `std` of all of them bit for bit.
    A class without examples has mean and deviation 0.
    """
    def examples(what: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for rows in targets(what):
            rows = rows[(rows[:, 0] > 0) & (rows[:, 0] < num_classes)]
            yield rows[:, 0].astype(np.int64), rows[:, 1:].astype(np.float64)

    counts, means, squares = np.zeros(num_classes), np.zeros((num_classes, 4)), np.zeros((num_classes, 4))
    for labels, values in examples("means"):
        counts += np.bincount(labels, minlength=num_classes)
        _add_rows(means, labels, values)
    found = counts > 0
    means[found] /= counts[found, None]
    for labels, values in examples("deviations"):
        _add_rows(squares, labels, (values - means[labels]) ** 2)
    squares[found] /= counts[found, None]
    return means, np.sqrt(squares)


def _add_rows(sums: np.ndarray, labels: np.ndarray, values: np.ndarray) -> None:
    """sums[label] += value, row by row: as NumPy sums along the first axis."""
    bins = np.concatenate([np.arange(len(sums)), labels])
    for column in range(values.shape[1]):
        weights = np.concatenate([sums[:, column], values[:, column]])
        sums[:, column] = np.bincount(bins, weights, len(sums))


def normalize_targets(targets: np.ndarray, means: np.ndarray, stds: np.ndarray) -> np.ndarray:
    """(target - mean) / std by the class of each row; rows of class 0 stay 0."""
    rows = np.flatnonzero(targets[:, 0])
    labels = targets[rows, 0].astype(np.int64)
    normal = targets.copy()
    normal[:, 1:] = 0
    normal[rows, 1:] = (targets[rows, 1:] - means[labels]) / safe_stds(stds)[labels]
    return normal
