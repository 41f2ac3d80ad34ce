"""Mean and standard deviation of the regression targets of object anchors over a training set.

Source: py-R-FCN's rpn/generate.py, which computes them before alternating training.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datasets.roidb import Entry
from fast_rcnn.bbox_transform import bbox_transform, safe_stds
from roi_data_layer.minibatch import rpn_blobs
from rpn.anchor_targets import AnchorSettings, anchors_inside, label_anchors
from rpn.generate_anchors import shift_anchors
from utils.blob import im_scale_for
from utils.cython_bbox import bbox_overlaps
from utils.images import ImageSettings
from utils.timer import with_progress


def anchor_target_statistics(roidb: Sequence[Entry], anchors: np.ndarray, stride: float, settings: AnchorSettings,
                      images: ImageSettings) -> tuple[np.ndarray, np.ndarray]:
    """Means and population standard deviations of dx, dy, dw, dh, (4,) float64 each.

    All anchors that are labelled as objects count, before subsampling, in each uncropped image at each scale. A feature
    map has ceil(side / stride) cells along an axis. A deviation of 0 is replaced by 1.

    anchors  (A, 4) of cell (0, 0)
    """
    count, sums, squares = 0, np.zeros(4), np.zeros(4)
    for entry in with_progress("RPN box targets", roidb):
        for size in images.scales:
            targets = _object_targets(entry, anchors, stride, settings, size, images.max_size)
            count += len(targets)
            sums += targets.sum(axis=0)
            squares += (targets ** 2).sum(axis=0)
    means = sums / max(count, 1)
    return means, safe_stds(np.sqrt(np.maximum(squares / max(count, 1) - means ** 2, 0)))


def _object_targets(entry: Entry, anchors: np.ndarray, stride: float, settings: AnchorSettings, size: float,
                    max_size: float) -> np.ndarray:
    """(n, 4) float64 targets of the anchors labelled as objects in an image at one scale."""
    scale = im_scale_for(entry["height"], entry["width"], size, max_size)
    height, width = (round(side * scale) for side in (entry["height"], entry["width"]))
    blobs = rpn_blobs([entry], [(height, width)], [scale])
    gt_boxes = blobs["gt_boxes"][:, :4].astype(np.float64)
    if not len(gt_boxes):
        return np.zeros((0, 4))
    rows, columns = (int(np.ceil(side / stride)) for side in (height, width))
    placed = shift_anchors(anchors, rows, columns, stride)
    placed = placed[anchors_inside(placed, (height, width), settings.allowed_border)]
    overlaps = bbox_overlaps(placed, gt_boxes)
    objects = np.flatnonzero(label_anchors(overlaps, settings) == 1)
    return bbox_transform(placed[objects], gt_boxes[overlaps[objects].argmax(axis=1)])
