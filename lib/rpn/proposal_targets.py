"""RoIs, labels and targets of the detector when trained together with the region proposal network.

Source: Girshick, "Fast R-CNN", section 2.3; py-faster-rcnn's rpn/proposal_target_layer.py.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fast_rcnn.bbox_transform import bbox_transform, num_box_classes, per_class_targets
from fast_rcnn.config import Config
from roi_data_layer.sampling import RoISettings, is_usable, on_ignored, sample_rois, split_rois
from utils.cython_bbox import bbox_overlaps


@dataclass(frozen=True)
class RoITargetSettings:
    """The rules of `proposal_targets`; names as cfg.TRAIN.BBOX_*."""

    rois: RoISettings
    use_ohem: bool              # all RoIs instead of a sample
    inside_weights: Sequence[float]
    normalize: bool             # by these means and stds
    means: Sequence[float]
    stds: Sequence[float]
    agnostic: bool              # classes share their boxes

    @classmethod
    def from_cfg(cls, train: Config) -> RoITargetSettings:
        """The settings in cfg.TRAIN. Targets are normalised where snapshots are converted to plain ones."""
        normalize = train.BBOX_REG and train.BBOX_NORMALIZE_TARGETS and train.BBOX_NORMALIZE_TARGETS_PRECOMPUTED
        return cls(RoISettings.from_cfg(train), train.USE_OHEM, train.BBOX_INSIDE_WEIGHTS, normalize,
                   train.BBOX_NORMALIZE_MEANS, train.BBOX_NORMALIZE_STDS, train.AGNOSTIC)


def best_gt_boxes(boxes: np.ndarray, gt_boxes: np.ndarray, bg_thresh_lo: float) -> tuple[np.ndarray, np.ndarray]:
    """The highest IoU of each box with a gt box, and that gt box's row.

    In an image without gt boxes the IoU is set to bg_thresh_lo and the row is the box itself with class 0, so that all
    boxes can be background.

    boxes     (n, 4)
    gt_boxes  (G, 5 or more)
    returns   (n,) and (n, 5)
    """
    if not len(gt_boxes):
        return np.full(len(boxes), bg_thresh_lo), np.insert(boxes, 4, 0, axis=1)
    overlaps = bbox_overlaps(boxes, gt_boxes[:, :4])
    return overlaps.max(axis=1), gt_boxes[overlaps.argmax(axis=1), :5]


def normalised_targets(rois: np.ndarray, gt_boxes: np.ndarray, settings: RoITargetSettings) -> np.ndarray:
    """Regression targets (n, 4); if `normalize`, (t - mean) / std."""
    targets = bbox_transform(rois, gt_boxes)
    return (targets - np.array(settings.means)) / np.array(settings.stds) if settings.normalize else targets


def proposal_targets(rois: np.ndarray, gt_boxes: np.ndarray, num_classes: int, num_rois: int,
                     settings: RoITargetSettings, rng: np.random.Generator,
                     ignored: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """RoIs of one image with their labels and regression targets.

    Candidates are the proposals and the gt boxes, so that every object has a good one; `sample_rois` draws num_rois of
    them. With `use_ohem` all are kept except those that are neither foreground nor background (see `split_rois`).

    rois      (n, 5) image index, x1, y1, x2, y2
    gt_boxes  (G, 5 or more) x1, y1, x2, y2, class; G may be 0
    ignored   (M, 4 or more) ignored boxes; RoIs on them are not background, unless no RoI would remain
    returns   rois (R, 5), foreground first; labels (R,); targets, inside weights, outside weights
              (R, 4 * num_classes), or (R, 8) if `agnostic`, see `per_class_targets`; the candidates' indices (R,)
    """
    image = rois[0, 0] if len(rois) else 0
    candidates = np.vstack([rois, np.insert(gt_boxes[:, :4], 0, image, axis=1)])
    overlaps, best = best_gt_boxes(candidates[:, 1:], gt_boxes, settings.rois.bg_thresh_lo)
    left_out = on_ignored(candidates[:, 1:], ignored, settings.rois.ignored_overlap)
    if left_out is not None and not is_usable(overlaps, settings.rois, left_out):
        left_out = None
    if settings.use_ohem:
        foreground, background = split_rois(overlaps, settings.rois, left_out)
    else:
        foreground, background = sample_rois(overlaps, num_rois, settings.rois, rng, left_out)
    chosen = np.concatenate([foreground, background])
    labels, targets = np.zeros(len(chosen), np.float32), np.zeros((len(chosen), 4), np.float32)
    labels[:len(foreground)] = best[foreground, 4]
    targets[:len(foreground)] = normalised_targets(candidates[foreground, 1:], best[foreground, :4], settings)
    box_labels = np.minimum(labels, 1) if settings.agnostic else labels
    expanded, weights = per_class_targets(box_labels, targets, num_box_classes(num_classes, settings.agnostic),
                                          settings.inside_weights)
    return candidates[chosen], labels, expanded, weights, (weights > 0).astype(np.float32), chosen
