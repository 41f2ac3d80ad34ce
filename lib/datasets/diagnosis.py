"""The mistakes of a detector: the confusion matrix, and every false alarm, missed object and confusion."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from datasets.ds_utils import covered_shares
from datasets.imdb import imdb as Imdb
from utils.boxes import box_areas
from utils.cython_bbox import bbox_overlaps

MIN_IOU = 0.5       # minimum IoU of a detection with the object that it finds
_POOR_IOU = 0.1     # minimum IoU of a false alarm that is a poor box of an object


@dataclass(frozen=True)
class Truth:
    """The objects of an image, and the regions in which objects of a class are not annotated."""

    boxes: np.ndarray       # (M, 4)
    labels: np.ndarray      # (M,) classes
    difficult: np.ndarray   # (M,) bool: need not be found
    regions: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))           # (R, 4)
    region_labels: np.ndarray = field(default_factory=lambda: np.zeros(0, int))     # (R,) classes


@dataclass(frozen=True)
class Found:
    """The detections of an image, by descending score."""

    boxes: np.ndarray       # (N, 4)
    labels: np.ndarray      # (N,) classes
    scores: np.ndarray      # (N,)


@dataclass(frozen=True)
class Mistake:
    """A false alarm (`truth` 0), a missed object (`label` 0) or an object found as another class."""

    image: int
    box: np.ndarray         # (4,) of the detection, or of the missed object
    label: int = 0          # class of the detection
    truth: int = 0          # class of the object
    score: float = 0.0      # of the detection; for a missed object the highest score of its class there, or 0
    reason: str = ""        # of a false alarm


@dataclass(frozen=True)
class Diagnosis:
    """Mistakes of a detector at a score threshold; the worst come first.

    matrix        (K, K) counts; rows: class of the object, columns: class of the detection. Row 0 counts the false
                  alarms, column 0 the missed objects
    false_alarms  by descending score
    missed        by descending area
    confused      by descending score
    """

    score: float
    matrix: np.ndarray
    false_alarms: list[Mistake] = field(default_factory=list)
    missed: list[Mistake] = field(default_factory=list)
    confused: list[Mistake] = field(default_factory=list)


def truths_of(imdb: Imdb) -> list[Truth]:
    """The objects of each image of a data set."""
    of_class = [imdb.objects_of_class(name) for name in imdb.classes[1:]]
    truths = []
    for image in imdb.image_index:
        parts = [objects[image] for objects in of_class]
        truths.append(Truth(*_joined([part.boxes for part in parts]),
                            np.concatenate([np.zeros(0, bool), *(part.difficult for part in parts)]),
                            *_joined([part.regions for part in parts])))
    return truths


def _joined(of_class: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The boxes of all classes, (N, 4), and their classes, (N,)."""
    return (np.concatenate([np.zeros((0, 4)), *of_class]),
            np.repeat(np.arange(1, len(of_class) + 1), [len(boxes) for boxes in of_class]))


def known_truths(imdb: Imdb) -> list[Truth] | None:
    """`truths_of` a data set; None if it does not provide its objects by class."""
    try:
        return truths_of(imdb)
    except (AttributeError, NotImplementedError):       # written for py-faster-rcnn
        return None


def found_in_images(all_boxes: Sequence[Sequence[np.ndarray]]) -> list[Found]:
    """The detections of each image, from rows x1, y1, x2, y2, score by class and image."""
    found = []
    for of_image in zip(*all_boxes, strict=True):
        rows = np.concatenate([np.zeros((0, 5)), *(np.reshape(dets, (-1, 5)) for dets in of_image)])
        labels = np.repeat(np.arange(len(of_image)), [len(dets) for dets in of_image])
        order = np.argsort(-rows[:, 4], kind="stable")
        found.append(Found(rows[order, :4], labels[order], rows[order, 4]))
    return found


def assign(found: Found, truth: Truth) -> np.ndarray:
    """Index of the object that each detection finds, (N,); -1 for none.

    By descending score, each detection takes the free object of its class with the highest IoU >= MIN_IOU. Detections
    without an object then take free objects of other classes in the same way, unless they lie in a region.
    """
    taken = np.full(len(found.boxes), -1)
    if not len(found.boxes) or not len(truth.boxes):
        return taken
    overlaps = bbox_overlaps(found.boxes, truth.boxes)
    same, near = found.labels[:, None] == truth.labels, overlaps.max(axis=1) >= MIN_IOU
    free = np.ones(len(truth.boxes), bool)
    for allowed in (same, ~same & ~_in_regions(found, truth)[:, None]):
        for row in np.flatnonzero(near & (taken < 0)):
            possible = np.where(allowed[row] & free, overlaps[row], 0)
            best = possible.argmax()
            if possible[best] >= MIN_IOU:
                taken[row], free[best] = best, False
    return taken


def best_score(founds: Sequence[Found], truths: Sequence[Truth]) -> float:
    """The score threshold with the highest F1 over all classes together; 0 if no detection is right.

    Detections of equal scores are above or below a threshold together.
    """
    scores, right = [], []
    for found, truth in zip(founds, truths, strict=True):
        taken = assign(found, truth)
        counts = ~_is_ignored(taken, found, truth)
        scores.append(found.scores[counts])
        right.append(_is_right(taken, found, truth)[counts])
    objects = sum(int((~truth.difficult).sum()) for truth in truths)
    all_scores, hits = np.concatenate([np.zeros(0), *scores]), np.concatenate([np.zeros(0, bool), *right])
    order = np.argsort(-all_scores, kind="stable")
    f1 = 2 * np.cumsum(hits[order]) / (np.arange(1, len(order) + 1) + objects)
    last = np.append(np.diff(all_scores[order]) != 0, True)[:len(order)]
    return float(all_scores[order[np.where(last, f1, 0).argmax()]]) if hits.any() else 0.0


def _is_ignored(taken: np.ndarray, found: Found, truth: Truth) -> np.ndarray:
    """Which detections find a difficult object, or none because it may not be annotated."""
    is_difficult = np.append(truth.difficult, False)[taken]
    return np.where(taken >= 0, is_difficult, _in_regions(found, truth))


def _in_regions(found: Found, truth: Truth) -> np.ndarray:
    """Which detections lie, by more than half of their area, in a region without annotations of their class."""
    inside = np.zeros(len(found.boxes), bool)
    for label in np.unique(truth.region_labels):
        rows = found.labels == label
        inside[rows] = covered_shares(found.boxes[rows], truth.regions[truth.region_labels == label]) > MIN_IOU
    return inside


def _is_right(taken: np.ndarray, found: Found, truth: Truth) -> np.ndarray:
    return (taken >= 0) & (np.append(truth.labels, -1)[taken] == found.labels)


def diagnose(founds: Sequence[Found], truths: Sequence[Truth], num_classes: int, score: float) -> Diagnosis:
    """The mistakes among detections of at least this score; difficult objects and regions are ignored."""
    result = Diagnosis(score, np.zeros((num_classes, num_classes), np.int64))
    for image, (found, truth) in enumerate(zip(founds, truths, strict=True)):
        kept = found.scores >= score
        _add_image(result, image, Found(found.boxes[kept], found.labels[kept], found.scores[kept]), found, truth)
    for mistakes in (result.false_alarms, result.confused):
        mistakes.sort(key=lambda mistake: -mistake.score)
    result.missed.sort(key=lambda mistake: -float(box_areas(mistake.box)))
    return result


def _add_image(result: Diagnosis, image: int, found: Found, every: Found, truth: Truth) -> None:
    taken = assign(found, truth)
    for row in np.flatnonzero(~_is_ignored(taken, found, truth)):
        label, score = int(found.labels[row]), float(found.scores[row])
        real = int(truth.labels[taken[row]]) if taken[row] >= 0 else 0
        result.matrix[real, label] += 1
        if not real:
            reason = _reason(found.boxes[row], label, truth)
            result.false_alarms.append(Mistake(image, found.boxes[row], label, score=score, reason=reason))
        elif real != label:
            result.confused.append(Mistake(image, found.boxes[row], label, real, score))
    for index in np.setdiff1d(np.flatnonzero(~truth.difficult), taken):
        box, real = truth.boxes[index], int(truth.labels[index])
        result.matrix[real, 0] += 1
        result.missed.append(Mistake(image, box, truth=real, score=_score_at(box, real, every)))


def _reason(box: np.ndarray, label: int, truth: Truth) -> str:
    if not len(truth.boxes):
        return "no object"
    overlaps = bbox_overlaps(box[None], truth.boxes)[0]
    same = overlaps[truth.labels == label].max(initial=0)
    if same >= MIN_IOU:
        return "found twice"
    if same >= _POOR_IOU:
        return f"poor box, IoU {same:.2f}"
    return "no object" if overlaps.max() < _POOR_IOU else "beside another class"


def _score_at(box: np.ndarray, label: int, found: Found) -> float:
    """The highest score of a class at a box."""
    mine = found.labels == label
    if not mine.any():
        return 0.0
    near = bbox_overlaps(found.boxes[mine], box[None].astype(found.boxes.dtype))[:, 0] >= MIN_IOU
    return float(found.scores[mine][near].max(initial=0))
