"""Proposals on the device: the computations of proposals.py with PyTorch tensor methods.

Nothing synchronises with the GPU: the number of boxes stays there until the layer reads it.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import caffe
from rpn.proposals import ProposalSettings
from utils.other_caffe import Tensor

_LIMIT = float(np.finfo(np.float32).max / 4)        # as in bbox_transform_inv


def proposals(scores: Tensor, deltas: Tensor, im_info: Sequence[float], anchors: Tensor,
              settings: ProposalSettings) -> tuple[Tensor, Tensor, Tensor]:
    """As `proposals.proposals`, with the rule of GPU NMS (a box is dropped above the threshold).

    scores, deltas, anchors  as there, as tensors; scores that are not NaN are finite
    returns                  boxes (M, 4), scores (M,) and a 0-d tensor n: the first n of them are valid. n is 0 if no
                             box is large enough, -1 if a score or delta is NaN
    """
    boxes = decoded_boxes(anchors, deltas, im_info)
    is_large = (boxes[:, 2:] - boxes[:, :2] + 1 >= float(settings.min_size * im_info[2])).all(1)
    order = (-scores.masked_fill(~is_large, -np.inf)).argsort(dim=0, stable=True)      # small boxes come last
    if settings.pre_nms_top_n > 0:
        order = order[:settings.pre_nms_top_n]
    positions = caffe.nms_sorted(boxes.index_select(0, order), settings.nms_thresh, max(settings.post_nms_top_n, 0))
    number = (positions < is_large.sum().clamp_max(len(order))).sum()
    has_nan = scores.isnan().any() | deltas.isnan().any()
    kept = order.index_select(0, positions.clamp_max(len(order) - 1))
    return boxes.index_select(0, kept), scores.index_select(0, kept), number.masked_fill(has_nan, -1)


def decoded_boxes(anchors: Tensor, deltas: Tensor, im_info: Sequence[float]) -> Tensor:
    """`clip_boxes(bbox_transform_inv(anchors, deltas), im_info)`, (K, 4)."""
    sizes = anchors[:, 2:] - anchors[:, :2] + 1
    centres = (deltas[:, :2] * sizes + (anchors[:, :2] + 0.5 * sizes)).clamp(-_LIMIT, _LIMIT)
    halves = 0.5 * (deltas[:, 2:].exp() * sizes).clamp_max(_LIMIT)
    boxes = deltas.new_empty(deltas.shape)
    boxes[:, :2], boxes[:, 2:] = centres - halves, centres + halves
    boxes[:, 0::2].clamp_(0, float(im_info[1]) - 1)
    boxes[:, 1::2].clamp_(0, float(im_info[0]) - 1)
    return boxes


def as_rois(found: Sequence[tuple[Tensor, Tensor]], numbers: Sequence[int],
            im_info: np.ndarray) -> tuple[Tensor, Tensor]:
    """RoIs (R, 5) and scores (R, 1) of a batch: the first `numbers[i]` boxes and scores of image i.

    An image without boxes gets one RoI, the whole image, with score 0.
    """
    behind = np.cumsum(np.maximum(numbers, 1)).tolist()
    rois, roi_scores = found[0][0].new_zeros((behind[-1], 5)), found[0][1].new_zeros((behind[-1], 1))
    for image, ((boxes, scores), number, end) in enumerate(zip(found, numbers, behind, strict=True)):
        start = end - max(number, 1)
        rois[start:end, 0] = image
        if number:
            rois[start:end, 1:], roi_scores[start:end, 0] = boxes[:number], scores[:number]
        else:
            rois[start, 3], rois[start, 4] = float(im_info[image, 1]) - 1, float(im_info[image, 0]) - 1
    return rois, roi_scores
