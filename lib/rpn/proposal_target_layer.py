"""The layer that samples RoIs and assigns targets to them; the computation is in proposal_targets.py."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import caffe
from fast_rcnn.bbox_transform import num_box_classes
from fast_rcnn.config import cfg
from rpn.anchor_targets import gt_boxes_of_images
from rpn.proposal_targets import RoITargetSettings, proposal_targets
from utils.layer_params import class_count
from utils.names import BOX_BLOBS
from utils.other_caffe import Blob, blob_list, set_blobs
from utils.python_layer import RandomLayer, check_count, layer_setting


class ProposalTargetLayer(RandomLayer, caffe.Layer):
    """Samples RoIs to train on, and assigns labels and regression targets to them.

    bottom  rpn_rois (n, 5) image index, x1, y1, x2, y2; gt_boxes, see `rpn.anchor_targets.gt_boxes_of_images`
    top     rois (R, 5), labels (R,), bbox_targets, bbox_inside_weights, bbox_outside_weights (R, 4K)

    param_str: num_classes (K, with the background). With cfg.TRAIN.AGNOSTIC all classes share one box, and box tops
    have 8 columns; R-FCN's nets then set num_classes to 2.
    cfg.TRAIN.BATCH_SIZE RoIs are divided evenly among the images; with -1, and with cfg.TRAIN.USE_OHEM, all are kept.
    Settings are read at setup. There is no gradient.
    """

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self._num_classes = layer_setting(self, class_count)
        check_count(self, "bottoms", bottom, ["rpn_rois", "gt_boxes"])
        check_count(self, "tops", top, ["rois", "labels", *BOX_BLOBS])
        self._settings, self._seed = RoITargetSettings.from_cfg(cfg.TRAIN), cfg.RNG_SEED
        columns = 4 * num_box_classes(self._num_classes, self._settings.agnostic)
        for blob, shape in zip(blob_list(top), [(1, 5), (1,), *[(1, columns)] * 3], strict=True):
            blob.reshape(*shape)

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Shapes depend on the number of RoIs: forward sets them."""

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        rois = bottom[0].data.reshape(-1, 5)
        num_images = int(rois[:, 0].max(initial=0)) + 1
        per_image = self._settings.rois.batch_size // num_images
        rng = self.rng()
        self._passes += 1
        boxes = [gt_boxes_of_images(bottom[1].data, num_images, ignored) for ignored in (False, True)]
        parts = [proposal_targets(rois[rois[:, 0] == image], gt_boxes, self._num_classes, per_image,
                                  self._settings, rng, ignored)
                 for image, (gt_boxes, ignored) in enumerate(zip(*boxes, strict=True))]
        set_blobs(top, [np.concatenate(values) for values in zip(*parts, strict=True)][:len(top)])

    def backward(self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        """RoIs and targets are treated as constants."""
