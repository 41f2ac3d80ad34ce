"""Proposals: the boxes that the region proposal network believes to hold objects.

Source: Ren et al., "Faster R-CNN", sections 3.1 and 3.3; py-faster-rcnn's rpn/proposal_layer.py.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import caffe
from fast_rcnn.bbox_transform import bbox_transform_inv, clip_boxes
from fast_rcnn.config import cfg
from fast_rcnn.nms_wrapper import nms, uses_gpu_nms
from rpn import proposal_tensors
from rpn.generate_anchors import generate_anchors, shift_anchors
from utils.layer_params import anchor_layout
from utils.python_layer import (
    SettingError,
    blob_shape,
    layer_name,
    layer_setting,
    lies_on_gpu,
    phase_name,
    set_blob,
    set_tensor,
)

_NAN_MESSAGE = ("ProposalLayer: scores or deltas of the region proposal network are NaN: its weights are bad, or "
                "training diverged (lower base_lr; start from a good snapshot)")


@dataclass(frozen=True)
class ProposalSettings:
    """Limits of `proposals`; names as cfg.<phase>.RPN_*. Numbers of boxes of 0 or less are no limits."""

    pre_nms_top_n: int = 6000
    post_nms_top_n: int = 300
    nms_thresh: float = 0.7
    min_size: float = 16        # pixels of the original image

    @classmethod
    def from_cfg(cls, section: Any) -> ProposalSettings:
        """The settings in cfg.TRAIN or cfg.TEST."""
        return cls(section.RPN_PRE_NMS_TOP_N, section.RPN_POST_NMS_TOP_N, section.RPN_NMS_THRESH,
                   section.RPN_MIN_SIZE)


def proposals(scores: np.ndarray, deltas: np.ndarray, im_info: Sequence[float], anchors: np.ndarray,
              settings: ProposalSettings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best boxes of one image: decoded, clipped, without small ones and near copies.

    scores   (K,) object scores of the anchors
    deltas   (K, 4) regression outputs
    im_info  height, width, scale
    anchors  (K, 4)
    returns  boxes (R, 4), scores (R,) in descending order, and the anchors' indices (R,).
             R is at least 1: if no box is large enough, the whole image with score 0 and index -1.
    Raises FloatingPointError if a score or delta is NaN.
    """
    if np.isnan(scores).any() or np.isnan(deltas).any():
        raise FloatingPointError(_NAN_MESSAGE)
    height, width, scale = im_info[:3]
    boxes = clip_boxes(bbox_transform_inv(anchors, deltas), (height, width))
    large = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] + 1 >= settings.min_size * scale).all(axis=1))
    order = large[best_first(scores[large], settings.pre_nms_top_n)]
    kept = order[nms(np.column_stack([boxes[order], scores[order]]), settings.nms_thresh,
                     max_keep=max(settings.post_nms_top_n, 0))]
    if not len(kept):
        whole = np.array([[0, 0, width - 1, height - 1]], boxes.dtype)
        return whole, np.zeros(1, scores.dtype), np.array([-1])
    return boxes[kept], scores[kept], kept


def best_first(scores: np.ndarray, top_n: int) -> np.ndarray:
    """Indices of the `top_n` highest scores (all if top_n <= 0), best first; ties by index."""
    if 0 < top_n < len(scores):
        cut = -np.partition(-scores, top_n - 1)[top_n - 1]
        candidates = np.flatnonzero(scores >= cut)
    else:
        candidates = np.arange(len(scores))
    order = candidates[np.argsort(-scores[candidates], kind="stable")]
    return order[:top_n] if top_n > 0 else order


class ProposalLayer(caffe.Layer):
    """Turns the outputs of the region proposal network into RoIs.

    bottom  rpn_cls_prob_reshape (N, 2A, H, W), object scores in channels A .. 2A-1; rpn_bbox_pred
            (N, 4A, H, W), channel 4a + i; im_info (N, 3) height, width, scale
    top     rois (R, 5) image index, x1, y1, x2, y2 in pixels of the scaled image, by descending score within
            an image; and if named, scores (R, 1)

    param_str: feat_stride (pixels from cell to cell), scales (8, 16, 32), ratios (0.5, 1, 2).
    Limits are cfg.TRAIN.RPN_* or cfg.TEST.RPN_*, by the net's phase, as they are at setup. No gradient.
    With cfg.USE_GPU_NMS all is computed on the GPU on which the scores lie; only the number of RoIs is waited for.
    """

    def setup(self, bottom, top):
        self._stride, scales, ratios = layer_setting(self, anchor_layout)
        self._anchors = generate_anchors(ratios=ratios, scales=scales)
        self._grid: Any = None      # on a GPU, the anchors of the largest map so far, (rows, columns, 4A)
        self._settings = ProposalSettings.from_cfg(cfg[phase_name(self)])
        self._check(bottom)
        top[0].reshape(1, 5)
        if len(top) > 1:
            top[1].reshape(1, 1)

    def _check(self, bottom):
        """The number of anchors is written in several places of a prototxt: say so if they differ."""
        count = len(self._anchors)
        found = blob_shape(bottom[0])[1], blob_shape(bottom[1])[1]
        if found != (2 * count, 4 * count):
            raise SettingError(
                f"{layer_name(self)}: {count} anchors (ratios x scales) need {2 * count} score channels and "
                f"{4 * count} regression channels, found {found[0]} and {found[1]}: change num_output of the "
                "two RPN convolutions and dim of the Reshape, or the scales of this layer")

    def reshape(self, bottom, top):
        """Tops get their shapes in forward, when the number of RoIs is known."""

    def forward(self, bottom, top):
        if lies_on_gpu(bottom[0]) and uses_gpu_nms():
            self._propose_on_gpu(bottom, top)
        else:
            self._propose(bottom, top)

    def _propose(self, bottom, top):
        scores, deltas, im_info = (blob.data for blob in bottom[:3])
        num_images, _, height, width = scores.shape
        count = len(self._anchors)
        anchors = shift_anchors(self._anchors, height, width, self._stride)
        rois, roi_scores = [], []
        for image in range(num_images):
            boxes, best, _ = proposals(scores[image, count:].transpose(1, 2, 0).ravel(),
                                       deltas[image].transpose(1, 2, 0).reshape(-1, 4),
                                       im_info.reshape(num_images, -1)[image], anchors, self._settings)
            rois.append(np.insert(boxes, 0, image, axis=1))
            roi_scores.append(best)
        outputs = np.vstack(rois), np.concatenate(roi_scores)[:, None]
        for blob, values in zip(top, outputs, strict=False):
            set_blob(blob, values)

    def _propose_on_gpu(self, bottom, top):
        scores, deltas = bottom[0].tensor, bottom[1].tensor
        num_images, _, height, width = scores.shape
        im_info = bottom[2].data.reshape(num_images, -1)        # written by the host
        anchors = self._anchors_on_gpu(height, width, deltas)
        found = [proposal_tensors.proposals(scores[image, len(self._anchors):].permute(1, 2, 0).flatten(),
                                            deltas[image].permute(1, 2, 0).reshape(-1, 4), im_info[image], anchors,
                                            self._settings) for image in range(num_images)]
        numbers = [int(number) for _, _, number in found]       # waits for the GPU: tops need shapes
        if min(numbers) < 0:
            raise FloatingPointError(_NAN_MESSAGE)
        outputs = proposal_tensors.as_rois([of_image[:2] for of_image in found], numbers, im_info)
        for blob, values in zip(top, outputs, strict=False):
            set_tensor(blob, values)

    def _anchors_on_gpu(self, height, width, like):
        """`shift_anchors` of a map, beside the tensor `like`: most maps find them there."""
        if self._grid is None or self._grid.shape[0] < height or self._grid.shape[1] < width:
            rows, columns = (height, width) if self._grid is None else np.maximum((height, width), self._grid.shape[:2])
            anchors = shift_anchors(self._anchors, rows, columns, self._stride)
            self._grid = like.new_tensor(anchors.reshape(rows, columns, -1))
        return self._grid[:height, :width].reshape(-1, 4).to(like)

    def backward(self, top, propagate_down, bottom):
        """RoIs are taken as constants."""
