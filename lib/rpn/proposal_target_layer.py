"""RoIs, labels and targets of the detector when it trains together with the region proposal network.

Source: Girshick, "Fast R-CNN", section 2.3; py-faster-rcnn's rpn/proposal_target_layer.py.
"""
from __future__ import annotations

import copy
from typing import Any

import numpy as np

import caffe
from fast_rcnn.bbox_transform import bbox_transform, per_class_targets
from fast_rcnn.config import cfg
from roi_data_layer.minibatch import sample_rois
from rpn.anchor_target_layer import gt_boxes_of_images
from utils.cython_bbox import bbox_overlaps
from utils.layer_params import class_count
from utils.python_layer import layer_rng, layer_setting, set_blob


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


class ProposalTargetLayer(caffe.Layer):
    """Chooses RoIs to train on, and gives them labels and regression targets.

    bottom  rpn_rois (n, 5) image index, x1, y1, x2, y2; gt_boxes, see `rpn.anchor_target_layer.gt_boxes_of_images`
    top     rois (R, 5), labels (R,), bbox_targets, bbox_inside_weights, bbox_outside_weights (R, 4K)

    param_str: num_classes (K, with the background).
    The images share cfg.TRAIN.BATCH_SIZE RoIs evenly. Settings are read at setup. There is no gradient.
    """

    def setup(self, bottom, top):
        self._num_classes = layer_setting(self, class_count)
        self._train, self._seed = copy.deepcopy(cfg.TRAIN), cfg.RNG_SEED
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
        per_image = self._train.BATCH_SIZE // num_images
        rng = layer_rng(self, self._seed, self._passes)
        self._passes += 1
        parts = [proposal_targets(rois[rois[:, 0] == image], gt_boxes, self._num_classes, per_image,
                                  self._train, rng)
                 for image, gt_boxes in enumerate(gt_boxes_of_images(bottom[1].data, num_images))]
        for blob, values in zip(top, zip(*parts, strict=True), strict=False):
            set_blob(blob, np.concatenate(values))

    def backward(self, top, propagate_down, bottom):
        """RoIs and targets are taken as constants."""
