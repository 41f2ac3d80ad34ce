"""The layer that assigns training targets to anchors; the computation is in anchor_targets.py."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

import caffe
from datasets.roidb import Entry
from fast_rcnn.config import cfg
from rpn.anchor_statistics import anchor_target_statistics
from rpn.anchor_targets import AnchorSettings, anchor_targets, gt_boxes_of_images, to_maps
from rpn.generate_anchors import generate_anchors, shift_anchors
from utils.images import ImageSettings
from utils.layer_params import allowed_border, anchor_layout
from utils.names import RPN_TARGETS
from utils.other_caffe import Blob, blob_list, blob_shape, set_blobs
from utils.python_layer import RandomLayer, check_count, layer_name, layer_setting


class AnchorTargetLayer(RandomLayer, caffe.Layer):
    """Assigns a label and regression targets to every anchor.

    bottom  rpn_cls_score (N, 2A, H, W), used only for N, H and W; gt_boxes (see `gt_boxes_of_images`);
            im_info (N, 3) height, width, scale of each image without padding; data (unused)
    top     rpn_labels (N, 1, A * H, W) of 1, 0, -1, row a * H + y; rpn_bbox_targets,
            rpn_bbox_inside_weights, rpn_bbox_outside_weights (N, 4A, H, W), channel 4a + i

    param_str: feat_stride (pixels from cell to cell); scales (8, 16, 32), ratios (0.5, 1, 2), allowed_border (0).
    RPN_BATCHSIZE examples are sampled from each image, and outside weights computed for each image.
    The rules are those of cfg.TRAIN.RPN_* at setup. There is no gradient.
    """

    unread_bottoms = (0, 3)     # only their shapes are read

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self._stride, scales, ratios = layer_setting(self, anchor_layout)
        check_count(self, "bottoms", bottom, ["rpn_cls_score", "gt_boxes", "im_info", "data"], optional=1)
        check_count(self, "tops", top, RPN_TARGETS)
        self._anchors = generate_anchors(ratios=ratios, scales=scales)
        self._settings = AnchorSettings.from_cfg(cfg.TRAIN, layer_setting(self, allowed_border))
        self._images = ImageSettings.from_cfg(cfg, "TRAIN")
        self._given = (cfg.TRAIN.RPN_NORMALIZE_MEANS, cfg.TRAIN.RPN_NORMALIZE_STDS)
        self._seed = cfg.RNG_SEED
        self.reshape(bottom, top)

    def normalize_targets(self, roidb: Sequence[Entry]) -> tuple[np.ndarray, np.ndarray]:
        """Output (target - mean) / std from now on, for anchors inside the image.

        Returns means and standard deviations, (4,) float64: those of cfg at setup if given, else those of the roidb
        (see `anchor_target_statistics`).
        """
        means, stds = (np.array(values, np.float64) for values in self._given)
        if not len(stds):
            means, stds = anchor_target_statistics(roidb, self._anchors, self._stride, self._settings, self._images)
        self._settings = replace(self._settings, statistics=(means, stds))
        return means, stds

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        num_images, _, height, width = blob_shape(bottom[0])
        num_anchors = len(self._anchors)
        top[0].reshape(num_images, 1, num_anchors * height, width)
        for blob in blob_list(top)[1:]:
            blob.reshape(num_images, 4 * num_anchors, height, width)

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        num_images, _, height, width = blob_shape(bottom[0])
        im_info = bottom[2].data
        im_info = im_info.reshape(-1, im_info.shape[-1])
        if len(im_info) != num_images:
            raise ValueError(f"{layer_name(self)}: {num_images} images, but im_info has {len(im_info)} rows")
        anchors = shift_anchors(self._anchors, height, width, self._stride)
        rng = self.rng()
        self._passes += 1
        maps = []
        boxes = [gt_boxes_of_images(bottom[1].data, num_images, ignored) for ignored in (False, True)]
        for image, (gt_boxes, ignored) in enumerate(zip(*boxes, strict=True)):
            labels, *others = anchor_targets(gt_boxes, im_info[image], anchors, self._settings, rng, ignored)
            maps.append([to_maps(labels, height, width).reshape(1, 1, -1, width),
                         *(to_maps(values, height, width) for values in others)])
        set_blobs(top, [np.concatenate(of_images) for of_images in zip(*maps, strict=True)])

    def backward(self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        """Labels have no gradient."""
