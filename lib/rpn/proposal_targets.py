"""RoIs, labels and targets of the detector when it trains together with the region proposal network.

Source: Girshick, "Fast R-CNN", section 2.3; py-faster-rcnn's rpn/proposal_target_layer.py.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from fast_rcnn.bbox_transform import bbox_transform, per_class_targets
from roi_data_layer.minibatch import sample_rois
from utils.cython_bbox import bbox_overlaps


def best_gt_boxes(boxes: np.ndarray, gt_boxes: np.ndarray, train: Any) -> tuple[np.ndarray, np.ndarray]:
    """For each box its highest IoU with a gt box, and that gt box's row.

    In an image without gt boxes the IoU counts as BG_THRESH_LO and the row is the box itself with class 0:
    all boxes can be background.

    boxes     (n, 4)
    gt_boxes  (G, 5 or more)
    returns   (n,) and (n, 5)
    """
    if not len(gt_boxes):
        return np.full(len(boxes), train.BG_THRESH_LO), np.insert(boxes, 4, 0, axis=1)
    overlaps = bbox_overlaps(boxes, gt_boxes[:, :4])
    return overlaps.max(axis=1), gt_boxes[overlaps.argmax(axis=1), :5]


def normalised_targets(rois: np.ndarray, gt_boxes: np.ndarray, train: Any) -> np.ndarray:
    """Regression targets (n, 4); (t - mean) / std if BBOX_NORMALIZE_TARGETS_PRECOMPUTED."""
    targets = bbox_transform(rois, gt_boxes)
    if train.BBOX_NORMALIZE_TARGETS_PRECOMPUTED:
        targets = (targets - np.array(train.BBOX_NORMALIZE_MEANS)) / np.array(train.BBOX_NORMALIZE_STDS)
    return targets


def proposal_targets(rois: np.ndarray, gt_boxes: np.ndarray, num_classes: int, num_rois: int, train: Any,
                     rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """RoIs of one image with their labels and regression targets.

    Candidates are the proposals and the gt boxes themselves, so that every object has a good one; of these
    `sample_rois` draws num_rois, at most round(FG_FRACTION * num_rois) of them foreground.

    rois      (n, 5) image index, x1, y1, x2, y2
    gt_boxes  (G, 5 or more) x1, y1, x2, y2, class; G may be 0
    train     the settings cfg.TRAIN
    returns   rois (R, 5), foreground first; labels (R,); targets, inside weights, outside weights
              (R, 4 * num_classes), see `per_class_targets`; the candidates' indices (R,)
    """
    image = rois[0, 0] if len(rois) else 0
    candidates = np.vstack([rois, np.insert(gt_boxes[:, :4], 0, image, axis=1)])
    overlaps, best = best_gt_boxes(candidates[:, 1:], gt_boxes, train)
    most_foreground = int(np.round(train.FG_FRACTION * num_rois))
    foreground, background = sample_rois(overlaps, most_foreground, num_rois, train, rng)
    chosen = np.concatenate([foreground, background])
    labels, targets = np.zeros(len(chosen), np.float32), np.zeros((len(chosen), 4), np.float32)
    labels[:len(foreground)] = best[foreground, 4]
    targets[:len(foreground)] = normalised_targets(candidates[foreground, 1:], best[foreground, :4], train)
    expanded, weights = per_class_targets(labels, targets, num_classes, train.BBOX_INSIDE_WEIGHTS)
    return candidates[chosen], labels, expanded, weights, (weights > 0).astype(np.float32), chosen
