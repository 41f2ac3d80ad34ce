"""Regression targets from pairs of boxes, boxes from regression outputs, and clipping to the image.

A box is (x1, y1, x2, y2) in inclusive pixels: width = x2 - x1 + 1. The centre is x1 + width / 2.
Source: Girshick et al., "Rich feature hierarchies" (R-CNN), appendix C; py-faster-rcnn's fast_rcnn/bbox_transform.py.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from utils.boxes import box_sizes


def bbox_transform(ex_rois: np.ndarray, gt_rois: np.ndarray) -> np.ndarray:
    """Regression targets that map `ex_rois` to `gt_rois`.

    dx = (gx - ex) / ew, dy = (gy - ey) / eh, dw = ln(gw / ew), dh = ln(gh / eh), with centres (x, y) and sizes (w, h).

    ex_rois, gt_rois  (N, 4) boxes; integers are converted to float64
    returns           (N, 4) dx, dy, dw, dh, in the wider float type of the two
    """
    ex_centres, ex_sizes = _centres_and_sizes(_as_float(ex_rois))
    gt_centres, gt_sizes = _centres_and_sizes(_as_float(gt_rois))
    return np.hstack([(gt_centres - ex_centres) / ex_sizes, np.log(gt_sizes / ex_sizes)])


def bbox_transform_inv(boxes: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    """Move and scale boxes by regression outputs.

    centre' = d * size + centre, size' = exp(d) * size, corners = centre' -/+ size' / 2. This is not the exact
    inverse of `bbox_transform`: x2 and y2 come out one pixel larger. Trained nets depend on it.
    dw and dh are not clamped. A result that would overflow is limited to a quarter of its type's largest number, which
    makes no difference once boxes are clipped to the image. NaN stays NaN.

    boxes    (N, 4)
    deltas   (N, 4 * k): dx, dy, dw, dh for each of k classes
    returns  (N, 4 * k) boxes, in the type of `deltas`
    """
    dtype = deltas.dtype
    limit = np.finfo(dtype).max / 4
    centres, sizes = _centres_and_sizes(boxes.astype(dtype, copy=False))
    moves = deltas.reshape(len(deltas), deltas.shape[1] // 4, 2, 2)
    with np.errstate(over="ignore"):
        new_centres = np.clip(moves[:, :, 0] * sizes[:, None] + centres[:, None], -limit, limit)
        halves = 0.5 * np.minimum(np.exp(moves[:, :, 1]) * sizes[:, None], limit)
    return np.concatenate([new_centres - halves, new_centres + halves], axis=2).reshape(deltas.shape)


def clip_boxes(boxes: np.ndarray, im_shape: Sequence[float]) -> np.ndarray:
    """Boxes with x clipped to [0, width - 1] and y to [0, height - 1]; a new array.

    boxes     (N, 4 * k)
    im_shape  (height, width, ...) of the image
    """
    corners = boxes.reshape(len(boxes), boxes.shape[1] // 2, 2)
    last = np.array([im_shape[1] - 1, im_shape[0] - 1], dtype=boxes.dtype)
    return np.clip(corners, 0, last).reshape(boxes.shape)


def num_box_classes(num_classes: int, agnostic: bool) -> int:
    """Number of classes, with the background, that have their own boxes: 2 if boxes are class-agnostic."""
    return 2 if agnostic else num_classes


def per_class_targets(labels: np.ndarray, targets: np.ndarray, num_classes: int,
                      inside_weights: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Place each row's four regression targets in the columns of its class.

    labels          (R,) classes; rows of class 0 (background) stay zero
    targets         (R, 4)
    inside_weights  weights of dx, dy, dw, dh
    returns         targets and inside weights, (R, 4 * num_classes) float32; class c owns columns 4c .. 4c+3
    Raises ValueError for a label that is not in 0 .. num_classes - 1.
    """
    labels = np.asarray(labels).astype(np.int64)
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(f"labels lie in {labels.min()}..{labels.max()}, but there are {num_classes} classes "
                         "(0 is the background): compare the prototxt's number with the data set's")
    shape = (len(labels), num_classes, 4)
    expanded, weights = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    rows = np.flatnonzero(labels)
    expanded[rows, labels[rows]] = targets[rows]
    weights[rows, labels[rows]] = inside_weights
    return expanded.reshape(-1, 4 * num_classes), weights.reshape(-1, 4 * num_classes)


def unnormalize_weights(weights: np.ndarray, bias: np.ndarray, means: np.ndarray,
                stds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert weights that predict normalised targets to predict plain ones: W * std, b * std + mean.

    weights      (4K n, ...), n consecutive rows for each target of each class; bias (4K n,)
    means, stds  (4K,)
    """
    means, stds = _of_rows(means, len(bias)), _of_rows(stds, len(bias))
    scale = stds.reshape(-1, *[1] * (weights.ndim - 1))
    return (weights * scale).astype(weights.dtype), (bias * stds + means).astype(bias.dtype)


def normalize_weights(weights: np.ndarray, bias: np.ndarray, means: np.ndarray,
              stds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of `unnormalize_weights`, to continue training from published weights; a std of 0 counts as 1."""
    means, stds = _of_rows(means, len(bias)), _of_rows(stds, len(bias))
    divisor = safe_stds(stds)
    scale = divisor.reshape(-1, *[1] * (weights.ndim - 1))
    return (weights / scale).astype(weights.dtype), ((bias - means) / divisor).astype(bias.dtype)


def safe_stds(stds: np.ndarray) -> np.ndarray:
    """Standard deviations to divide by: 1 instead of 0.

    If the RoIs of a class are all exact objects, its targets are all 0. py-faster-rcnn divides them by 0, which yields
    NaN; divided by 1 they stay 0.
    """
    return np.where(stds > 0, stds, 1.0)


def _of_rows(values: np.ndarray, rows: int) -> np.ndarray:
    """Repeat each target's value for its rows."""
    return np.repeat(np.asarray(values, np.float64), rows // len(values))


def _as_float(boxes: np.ndarray) -> np.ndarray:
    return boxes if boxes.dtype.kind == "f" else boxes.astype(np.float64)


def _centres_and_sizes(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sizes = box_sizes(boxes)
    return boxes[:, :2] + 0.5 * sizes, sizes
