"""Proposals: the boxes that the region proposal network believes to contain objects.

Source: Ren et al., "Faster R-CNN", sections 3.1 and 3.3; py-faster-rcnn's rpn/proposal_layer.py.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fast_rcnn.bbox_transform import bbox_transform_inv, clip_boxes
from fast_rcnn.config import Config
from fast_rcnn.nms_wrapper import nms_gpu, nms_on
from utils.boxes import box_sizes
from utils.errors import NotFiniteError

NAN_MESSAGE = ("ProposalLayer: scores or deltas of the region proposal network are NaN: its weights are bad, or "
               "training diverged (lower base_lr; start from a good snapshot)")


@dataclass(frozen=True)
class ProposalSettings:
    """Limits of `proposals`; names as in cfg.<phase>.RPN_*, defaults as in cfg.TEST. 0 or less boxes: no limit."""

    pre_nms_top_n: int = 6000
    post_nms_top_n: int = 300
    nms_thresh: float = 0.7
    min_size: float = 16        # pixels of the original image
    gpu: int | None = None      # number of the GPU that runs NMS; None: the CPU

    @classmethod
    def from_cfg(cls, settings: Config, phase: str) -> ProposalSettings:
        """The settings in a cfg tree, with its section TRAIN or TEST."""
        section = settings[phase]
        return cls(section.RPN_PRE_NMS_TOP_N, section.RPN_POST_NMS_TOP_N, section.RPN_NMS_THRESH,
                   section.RPN_MIN_SIZE, nms_gpu(settings))


def proposals(scores: np.ndarray, deltas: np.ndarray, im_info: Sequence[float], anchors: np.ndarray,
              settings: ProposalSettings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best boxes of one image: decoded, clipped, without small boxes and near-duplicates.

    scores   (K,) object scores of the anchors
    deltas   (K, 4) regression outputs
    im_info  height, width, scale
    anchors  (K, 4)
    returns  boxes (R, 4), scores (R,) in descending order, and the anchors' indices (R,).
             R is at least 1: if no box is large enough, the whole image with score 0 and index -1.
    Raises NotFiniteError if a score or delta is NaN.
    """
    if np.isnan(scores).any() or np.isnan(deltas).any():
        raise NotFiniteError(NAN_MESSAGE)
    height, width, scale = im_info[:3]
    boxes = clip_boxes(bbox_transform_inv(anchors, deltas), (height, width))
    large = np.flatnonzero((box_sizes(boxes) >= settings.min_size * scale).all(axis=1))
    order = large[best_first(scores[large], settings.pre_nms_top_n)]
    kept = order[nms_on(settings.gpu, np.column_stack([boxes[order], scores[order]]), settings.nms_thresh,
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
