"""Online hard example mining: the loss of every RoI, and the RoIs of highest loss to train on.

Source: Shrivastava, Gupta, Girshick, "Training Region-based Object Detectors with Online Hard Example Mining", 2016.
"""
from __future__ import annotations

import numpy as np

from fast_rcnn.nms_wrapper import nms_on
from utils.blob import as_rows
from utils.names import BOX_BLOBS, HARD, ROI_BLOBS

# Replaces a probability of 0: a loss of 36.04 instead of infinity
LEAST_PROBABILITY = np.finfo(np.float64).eps


def roi_losses(cls_prob: np.ndarray, labels: np.ndarray, *boxes: np.ndarray) -> np.ndarray:
    """Loss of each RoI, (R,) float64: -ln(p[label]) plus, for foreground, its smooth L1 box loss.

    The box loss is the sum of outside * smoothL1(inside * (pred - target)) over the columns where inside is not 0.

    cls_prob  (R, K) class probabilities
    labels    (R,) classes, integers of any type
    boxes     bbox_pred, bbox_targets, bbox_inside_weights, bbox_outside_weights, (R, 4K) each; or nothing, to
              omit the box loss
    Raises ValueError if their numbers of rows differ.
    """
    labels = labels.reshape(-1).astype(np.int64)
    counts = [len(array) for array in (cls_prob, labels, *boxes)]
    if len(set(counts)) > 1 or len(boxes) not in (0, 4):
        raise ValueError("roi_losses: expected one row for each RoI in cls_prob and labels, and in four arrays of "
                         f"boxes or none; found {', '.join(map(str, counts))} rows")
    probability = as_rows(cls_prob)[np.arange(len(labels)), labels].astype(np.float64)
    losses = -np.log(np.maximum(probability, LEAST_PROBABILITY))
    if boxes:
        rows = np.flatnonzero(labels > 0)
        losses[rows] += _box_losses(*(as_rows(array)[rows] for array in boxes))
    return losses


def _box_losses(pred: np.ndarray, target: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(inside)          # four of 4K columns: only these are computed
    error = np.abs((inside[rows, columns] * (pred[rows, columns] - target[rows, columns])).astype(np.float64))
    losses = outside[rows, columns] * np.where(error < 1, 0.5 * error * error, error - 0.5)
    return np.bincount(rows, weights=losses, minlength=len(pred))


def select_hard_examples(losses: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` largest losses (or all), largest first; ties keep their order."""
    return np.argsort(-np.asarray(losses), kind="stable")[:count]


def select_hard_rois(losses: np.ndarray, rois: np.ndarray, labels: np.ndarray, count: int,
                     nms_thresh: float | None = None, gpu: int | None = None) -> np.ndarray:
    """Indices of the RoIs to train on, largest loss first.

    count       number of RoIs, of all images together
    nms_thresh  if given, RoIs that overlap one of higher loss with at least this IoU are removed first, separately for
                each image and label
    gpu         number of the GPU that runs NMS; None: the CPU
    """
    if nms_thresh is None:
        return select_hard_examples(losses, count)
    kept = _suppress(losses, rois, labels.reshape(-1).astype(np.int64), nms_thresh, gpu)
    return kept[select_hard_examples(losses[kept], count)]


def _suppress(losses: np.ndarray, rois: np.ndarray, labels: np.ndarray, threshold: float,
              gpu: int | None) -> np.ndarray:
    """Ascending indices that survive NMS by loss within each (image, label) group."""
    boxes = np.column_stack([rois[:, 1:5], losses]).astype(np.float32)
    order = np.lexsort((labels, rois[:, 0]))
    changes = np.any(np.diff(np.column_stack([rois[order, 0], labels[order]]), axis=0) != 0, axis=1)
    groups = np.split(order, np.flatnonzero(changes) + 1)
    kept = [group[nms_on(gpu, boxes[group], threshold)] for group in groups if len(group)]
    return np.sort(np.concatenate(kept)) if kept else np.zeros(0, np.int64)


def add_random_rois(hard: np.ndarray, labels: np.ndarray, count: int, most_foreground: int,
                    order: np.ndarray) -> np.ndarray:
    """Indices of the hard RoIs, followed by `count` random ones of the others (or all), foreground first.

    labels           (R,) classes, 0 for the background
    most_foreground  limit for the random ones, exceeded only if there is not enough background
    order            (R,) a random permutation of all RoIs; the first ones are taken
    """
    others = order[~np.isin(order, hard)]
    foreground = labels.reshape(-1)[others] > 0
    surplus = foreground & (np.cumsum(foreground) > most_foreground)
    ranks = ~foreground + 2 * surplus
    return np.concatenate([hard, others[np.argsort(ranks, kind="stable")[:count]]])


def get_ohem_minibatch(losses: np.ndarray, rois: np.ndarray, labels: np.ndarray,
                       bbox_targets: np.ndarray | None = None, bbox_inside_weights: np.ndarray | None = None,
                       bbox_outside_weights: np.ndarray | None = None, *, batch_size: int,
                       nms_thresh: float | None = None, gpu: int | None = None) -> dict[str, np.ndarray]:
    """The rows of the hardest RoIs as `losses_hard`, `rois_hard`, `labels_hard` and, if given, `bbox_*_hard`."""
    hard = select_hard_rois(losses, rois, labels, batch_size, nms_thresh, gpu)
    arrays = (losses, rois, labels, bbox_targets, bbox_inside_weights, bbox_outside_weights)
    return {f"{name}{HARD}": array[hard] for name, array in zip(("losses", *ROI_BLOBS, *BOX_BLOBS), arrays, strict=True)
            if array is not None}
