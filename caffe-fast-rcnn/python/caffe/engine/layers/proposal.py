"""Proposal: the RoIs of a region proposal network, as in C++ forks of Caffe."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...kernels.nms import nms_sorted
from ..layer import Layer, register


@register("Proposal")
class Proposal(Layer):
    """RoIs from the outputs of a region proposal network: the best boxes of each image after non-maximum suppression.

    bottoms  scores (N, 2 A, H, W) of A anchors per cell, background first, then foreground; offsets (N, 4 A, H, W):
             dx, dy, dw, dh of each anchor in turn; image information (N, 3 or more): height, width, and the scale
             factors of height and width (with three values, one factor for both)
    tops     RoIs (R, 5): batch index, x1, y1, x2, y2, by image, then descending score; optionally their scores (R).
             R is 1 until the first forward pass
    param    proposal_param: ratio (height / width) and scale, any number of each; base_size (16), feat_stride (16),
             min_size (16), pre_nms_topn (6000), post_nms_topn (300), nms_thresh (0.7)

    Corners are inclusive pixels: a box has width x2 - x1 + 1. There is one anchor for each ratio and scale, the scale
    varying fastest, of width w scale and height round(w ratio) scale, where w = round(sqrt(base_size^2 / ratio)) and
    halves are rounded up. Anchors are centred at (base_size - 1) / 2, plus feat_stride per cell. A box has the centre
    x1 + w / 2 + dx w and the width exp(dw) w, w being the anchor's width; its corners lie half of it from the centre
    and are clipped to 0 and the image's width - 1; the same for y. Boxes below min_size times the image's scale, in
    height or width, score 0. The pre_nms_topn best boxes enter the suppression, where a box is dropped if its IoU with
    a box kept before is above nms_thresh, until post_nms_topn are kept. Ties keep the order of rows, columns and
    anchors. RoIs count as constants: the gradient of the bottoms is 0.
    Kim et al., "PVANET", 2016. Source: src/caffe/layers/proposal_layer.cpp of PVANET's Caffe.
    """

    exact_bottoms = 3
    min_tops = 1
    max_tops = 2
    no_backward_to = not_forced = (2,)
    backward_reads_bottoms = backward_reads_tops = False

    def setup(self, bottom, top):
        param = self.param.proposal_param
        for name in ("base_size", "feat_stride", "pre_nms_topn", "post_nms_topn"):
            if getattr(param, name) < 1:
                self.fail(f"{name} must be at least 1, found {getattr(param, name)}")
        for name in ("ratio", "scale"):
            values = getattr(param, name)
            if not values or not all(0 < value < np.inf for value in values):
                self.fail(f"proposal_param needs at least one {name}, all above 0, found {list(values)}")
        if not param.nms_thresh >= 0:
            self.fail(f"nms_thresh must be at least 0, found {param.nms_thresh}")
        self.anchors = anchors_of(param.base_size, param.ratio, param.scale)

    def reshape(self, bottom, top):
        scores, offsets, images = (blob.shape for blob in bottom)
        count = len(self.anchors)
        if len(scores) != 4 or scores[1] != 2 * count:
            self.fail(f"{count} anchors (ratios x scales) need scores (N, {2 * count}, H, W), found shape {scores}")
        if offsets != (scores[0], 4 * count, *scores[2:]):
            self.fail(f"{count} anchors (ratios x scales) and scores {scores} need offsets "
                      f"{(scores[0], 4 * count, *scores[2:])}, found shape {offsets}")
        if not images or images[0] != scores[0] or bottom[2].count < 3 * scores[0]:
            self.fail(f"expected height, width and scale of {scores[0]} images (N, 3), found shape {images}")
        top[0].reshape(1, 5)
        if len(top) > 1:
            top[1].reshape(1)

    def forward(self, bottom, top):
        with torch.no_grad():
            found = [torch.cat(parts) for parts in zip(*self._proposals(*(blob.tensor for blob in bottom)),
                                                       strict=True)]
        for blob, value in zip(top, found, strict=False):
            blob.reshape(*value.shape)
            blob.tensor = value

    def _proposals(self, scores: torch.Tensor, offsets: torch.Tensor, images: torch.Tensor) -> list:
        """RoIs (R, 5) and their scores (R) for each image."""
        if not (scores.isfinite().all() and offsets.isfinite().all()):
            self.fail("scores or offsets are not finite: the weights of the region proposal network are bad, or its "
                      "training has diverged")
        count, (height, width) = len(self.anchors), scores.shape[2:]
        images = images.reshape(len(scores), -1)
        scores = scores[:, count:].permute(0, 2, 3, 1).flatten(1)
        offsets = offsets.permute(0, 2, 3, 1).reshape(len(scores), -1, 4)
        boxes = self._boxes(self._grid(height, width, offsets), offsets, images)
        least = self.param.proposal_param.min_size * images[:, [2, 2] if images.shape[1] == 3 else [3, 2]]
        is_large = (boxes[..., 2:] - boxes[..., :2] + 1 >= least[:, None]).all(2)
        return [self._best(*of_image) for of_image in zip(range(len(scores)), boxes, scores * is_large, strict=True)]

    def _grid(self, height: int, width: int, like: torch.Tensor) -> torch.Tensor:
        """The anchors of all cells, (H W A, 4)."""
        stride, anchors = self.param.proposal_param.feat_stride, torch.from_numpy(self.anchors).to(like)
        x, y = (stride * torch.arange(length).to(like) for length in (width, height))
        left, upper = x.expand(height, width), y[:, None].expand(height, width)
        return (torch.stack([left, upper, left, upper], 2)[:, :, None] + anchors).reshape(-1, 4)

    def _boxes(self, anchors: torch.Tensor, offsets: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """The boxes (N, K, 4) decoded from offsets (N, K, 4) and anchors (K, 4), clipped to their images."""
        sizes = anchors[:, 2:] - anchors[:, :2] + 1
        centres = offsets[..., :2] * sizes + (anchors[:, :2] + 0.5 * sizes)
        halves = 0.5 * (offsets[..., 2:].exp() * sizes)
        last = (images[:, [1, 0, 1, 0]] - 1)[:, None]
        return torch.minimum(torch.cat([centres - halves, centres + halves], 2), last).clamp(min=0)

    def _best(self, image: int, boxes: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """RoIs (R, 5) and scores (R) of one image after suppression."""
        param = self.param.proposal_param
        scores, order = (part[:param.pre_nms_topn] for part in scores.sort(descending=True, stable=True))
        boxes = boxes[order]
        kept = nms_sorted(boxes, param.nms_thresh, param.post_nms_topn)
        kept = kept[kept < len(boxes)]
        return torch.nn.functional.pad(boxes[kept], (1, 0), value=image), scores[kept]

    def backward(self, top, propagate_down, bottom):
        for blob, wanted in zip(bottom, propagate_down, strict=True):
            if wanted:
                blob.grad = torch.zeros_like(blob.tensor)


def anchors_of(base_size: int, ratios: Sequence[float], scales: Sequence[float]) -> np.ndarray:
    """The anchors of the first cell, (ratios x scales, 4) float32; the scale varies fastest.

    Computed in float32, as in the published layer, because that decides how halves are rounded.
    """
    ratio, scale = np.array(ratios, np.float32), np.array(scales, np.float32)
    half = np.float32(0.5)
    widths = np.floor(np.sqrt(np.float32(base_size * base_size) / ratio) + half)
    heights = np.floor(widths * ratio + half)
    sizes = (np.stack([widths, heights], 1)[:, None] * scale[:, None]).reshape(-1, 2)
    centre, halves = half * np.float32(base_size - 1), half * (sizes - 1)
    return np.hstack([centre - halves, centre + halves])
