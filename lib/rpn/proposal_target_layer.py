"""RoIs, labels and targets of the detector when it trains together with the region proposal network.

Source: Girshick, "Fast R-CNN", section 2.3; py-faster-rcnn's rpn/proposal_target_layer.py.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import caffe
from fast_rcnn.bbox_transform import bbox_transform, per_class_targets
from fast_rcnn.config import cfg
from rpn.anchor_target_layer import gt_boxes_of_images
from utils.cython_bbox import bbox_overlaps
from utils.python_layer import layer_params, layer_rng, required_param


@dataclass(frozen=True)
class SamplingSettings:
    """The rules of sampling; names and defaults are those of cfg.TRAIN."""

    batch_size: int = 128           # RoIs of all images of a batch together
    fg_fraction: float = 0.25
    fg_thresh: float = 0.5
    bg_thresh_hi: float = 0.5
    bg_thresh_lo: float = 0.1
    means: Sequence[float] = (0.0, 0.0, 0.0, 0.0)       # targets are (t - mean) / std
    stds: Sequence[float] = (1.0, 1.0, 1.0, 1.0)
    inside_weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)

    @classmethod
    def from_cfg(cls, train: Any) -> SamplingSettings:
        """The settings in cfg.TRAIN; targets are normalised only if BBOX_NORMALIZE_TARGETS_PRECOMPUTED."""
        normalisation = ({"means": train.BBOX_NORMALIZE_MEANS, "stds": train.BBOX_NORMALIZE_STDS}
                         if train.BBOX_NORMALIZE_TARGETS_PRECOMPUTED else {})
        return cls(train.BATCH_SIZE, train.FG_FRACTION, train.FG_THRESH, train.BG_THRESH_HI,
                   train.BG_THRESH_LO, inside_weights=train.BBOX_INSIDE_WEIGHTS, **normalisation)


def sample_rois(max_overlaps: np.ndarray, num_rois: int, settings: SamplingSettings,
                rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Choose foreground and background among candidates, without replacement.

    Foreground: overlap >= fg_thresh, at most round(fg_fraction * num_rois). Background: overlap in
    [bg_thresh_lo, bg_thresh_hi), as many as are left of num_rois. Fewer are chosen where there are fewer.

    max_overlaps  (n,) best IoU of each candidate with any gt box
    returns       two arrays of indices
    """
    fg = np.flatnonzero(max_overlaps >= settings.fg_thresh)
    bg = np.flatnonzero((max_overlaps >= settings.bg_thresh_lo) & (max_overlaps < settings.bg_thresh_hi))
    fg = choose(fg, int(np.round(settings.fg_fraction * num_rois)), rng)
    return fg, choose(bg, num_rois - len(fg), rng)


def choose(indices: np.ndarray, limit: int, rng: np.random.Generator) -> np.ndarray:
    """At most `limit` of the indices, drawn at random, in ascending order."""
    return indices if len(indices) <= limit else np.sort(rng.permutation(indices)[:max(limit, 0)])


def proposal_targets(rois: np.ndarray, gt_boxes: np.ndarray, num_classes: int, num_rois: int,
                     settings: SamplingSettings, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """RoIs of one image with their labels and regression targets.

    Candidates are the proposals and the gt boxes themselves, so that every object has a good one. In an image
    without gt boxes all candidates are background, whatever bg_thresh_lo.

    rois      (n, 5) image index, x1, y1, x2, y2
    gt_boxes  (G, 5) x1, y1, x2, y2, class; G may be 0
    num_rois  how many to choose, see `sample_rois`
    returns   rois (R, 5), foreground first; labels (R,); targets, inside weights, outside weights
              (R, 4 * num_classes), see `per_class_targets`; the candidates' indices (R,)
    """
    image = rois[0, 0] if len(rois) else 0
    candidates = np.vstack([rois, np.insert(gt_boxes[:, :4], 0, image, axis=1)]).astype(np.float32)
    if len(gt_boxes):
        overlaps = bbox_overlaps(candidates[:, 1:], gt_boxes[:, :4])
        best_gt = overlaps.argmax(axis=1)
        fg, bg = sample_rois(overlaps.max(axis=1), num_rois, settings, rng)
    else:
        fg, bg = np.arange(0), choose(np.arange(len(candidates)), num_rois, rng)
        best_gt, gt_boxes = np.zeros(len(candidates), np.int64), np.array([[0, 0, 0, 0, 0]], np.float32)
    chosen = np.concatenate([fg, bg])
    labels = gt_boxes[best_gt[chosen], 4].astype(np.float32)
    labels[len(fg):] = 0
    targets = bbox_transform(candidates[chosen, 1:], gt_boxes[best_gt[chosen], :4])
    targets = (targets - np.asarray(settings.means)) / np.asarray(settings.stds)
    expanded, weights = per_class_targets(labels, targets, num_classes, settings.inside_weights)
    return candidates[chosen], labels, expanded, weights, (weights > 0).astype(np.float32), chosen


class ProposalTargetLayer(caffe.Layer):
    """Chooses RoIs to train on, and gives them labels and regression targets.

    bottom  rpn_rois (n, 5) image index, x1, y1, x2, y2; gt_boxes, see
            `rpn.anchor_target_layer.gt_boxes_of_images`
    top     rois (R, 5), labels (R,), bbox_targets, bbox_inside_weights, bbox_outside_weights (R, 4K)

    param_str: num_classes (K, with the background).
    The images share cfg.TRAIN.BATCH_SIZE RoIs evenly. Settings are read at setup. There is no gradient.
    """

    def setup(self, bottom, top):
        self._num_classes = required_param(self, layer_params(self), "num_classes")
        self._settings = SamplingSettings.from_cfg(cfg.TRAIN)
        self._seed = cfg.RNG_SEED
        self.seek(0)
        for blob, shape in zip(top, [(1, 5), (1,), *[(1, 4 * self._num_classes)] * 3], strict=True):
            blob.reshape(*shape)

    def seek(self, passes: int) -> None:
        """Draw from now on what follows after `passes` forward passes: resumes training exactly."""
        self._passes = passes

    def reshape(self, bottom, top):
        """Tops get their shapes in forward, when the number of RoIs is known."""

    def forward(self, bottom, top):
        rois = bottom[0].data.reshape(-1, 5)
        num_images = int(rois[:, 0].max(initial=0)) + 1
        rng = layer_rng(self, self._seed, self._passes)
        self._passes += 1
        parts = [proposal_targets(rois[rois[:, 0] == image], gt_boxes, self._num_classes,
                                  self._settings.batch_size // num_images, self._settings, rng)
                 for image, gt_boxes in enumerate(gt_boxes_of_images(bottom[1].data, num_images))]
        for blob, values in zip(top, zip(*parts, strict=True), strict=False):
            blob.reshape(*np.concatenate(values).shape)
            blob.data[...] = np.concatenate(values)

    def backward(self, top, propagate_down, bottom):
        """RoIs and targets are taken as constants."""
