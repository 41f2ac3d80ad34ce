"""PriorBox: the default boxes of SSD."""
from __future__ import annotations

import math

import numpy as np
import torch

from .. import device
from ..layer import Layer, register

_MOST_SIDE = 2**31 - 1      # an int in SSD's Caffe


@register("PriorBox")
class PriorBox(Layer):
    """Default boxes of several sizes and aspect ratios around the centre of every cell of a feature map.

    bottoms  the feature map (N, C, H, W), and the image (N, C', H', W'); only their sizes are read
    tops     (1, 2, 4 H W B): the first row holds x1, y1, x2, y2 of each box, normalised by the image's width and
             height, the second row their variances. The B boxes of a cell are contiguous, cells are in row-major order
    param    prior_box_param. For each min_size: a square box with that side; a square box with side sqrt(min max) for
             the corresponding max_size, if given; and for each aspect_ratio r other than 1 (with flip: true, the
             default, also for 1 / r) a box of width min sqrt(r) and height min / sqrt(r). clip (false) clips boxes to
             the image. variance: one or four values, 0.1 unless given. Image size and step come from the bottoms,
             unless given by img_size | img_h, img_w and step | step_h, step_w; the first centre is at offset (0.5)
             times the step

    Sizes are truncated to whole pixels, as in SSD: trained nets depend on it. No gradient.
    Liu et al., "SSD", 2016, section 2.2. Source: src/caffe/layers/prior_box_layer.cpp of SSD.
    """

    exact_bottoms = 2
    exact_tops = 1
    no_backward_to = not_forced = (0, 1)
    backward_reads_bottoms = backward_reads_tops = False

    def setup(self, bottom, top):
        param = self.param.prior_box_param
        smallest, largest = list(param.min_size), list(param.max_size)
        if not smallest or min(smallest) <= 0:
            self.fail(f"needs one min_size or more, all above 0, found {smallest}")
        if max(smallest + largest) > _MOST_SIDE:
            self.fail(f"min_size and max_size are at most {_MOST_SIDE} pixels, found {smallest} and {largest}")
        if largest and (len(largest) != len(smallest)
                        or any(high <= low for low, high in zip(smallest, largest, strict=True))):
            self.fail(f"expected a max_size for every min_size, larger than it; found {smallest} and {largest}")
        if any(ratio <= 0 for ratio in param.aspect_ratio):
            self.fail(f"aspect_ratio must be above 0, found {list(param.aspect_ratio)}")
        self.variances = list(param.variance) or [0.1]
        if len(self.variances) not in (1, 4) or min(self.variances) <= 0:
            self.fail(f"expected one or four variances above 0, found {self.variances}")
        self.image_size = self._pair("img_h", "img_w", "img_size")
        self.step = self._pair("step_h", "step_w", "step")
        self.sizes = self._box_sizes([int(size) for size in smallest], [int(size) for size in largest])

    def _pair(self, vertical: str, horizontal: str, both: str) -> tuple[float, float] | None:
        """(height, width) from the `vertical` and `horizontal` fields or from `both`; None if none is given."""
        param = self.param.prior_box_param
        if param.HasField(vertical) or param.HasField(horizontal):
            if param.HasField(both):
                self.fail(f"expected either {both}, or {vertical} and {horizontal}")
            pair = getattr(param, vertical), getattr(param, horizontal)
        elif param.HasField(both):
            pair = (getattr(param, both),) * 2
        else:
            return None
        if min(pair) <= 0:
            self.fail(f"{vertical} and {horizontal}, or {both}, must be above 0, found {pair}")
        return pair

    def _ratios(self) -> list[float]:
        """All aspect ratios except 1. A ratio within 1e-6 of an earlier one is skipped, and its inverse with it."""
        param, ratios = self.param.prior_box_param, [1.0]
        for ratio in param.aspect_ratio:
            if all(abs(ratio - known) >= 1e-6 for known in ratios):
                ratios.extend([ratio, 1 / ratio] if param.flip else [ratio])
        return ratios[1:]

    def _box_sizes(self, smallest: list[int], largest: list[int]) -> list[tuple[float, float]]:
        """(width, height), in image pixels, of the boxes of one cell, in order."""
        sizes = []
        for index, low in enumerate(smallest):
            sides = [low, *([math.sqrt(low * largest[index])] if largest else [])]
            sizes += [(side, side) for side in sides]
            sizes += [(low * math.sqrt(ratio), low / math.sqrt(ratio)) for ratio in self._ratios()]
        return sizes

    def reshape(self, bottom, top):
        for blob in bottom:
            if len(blob.shape) != 4 or min(blob.shape[2:]) < 1:
                self.fail(f"expected a feature map and an image of 4 axes (N, C, H, W), found shape {blob.shape}")
        top[0].reshape(1, 2, bottom[0].shape[2] * bottom[0].shape[3] * len(self.sizes) * 4)

    def forward(self, bottom, top):
        param = self.param.prior_box_param
        rows, columns = bottom[0].shape[2:]
        height, width = self.image_size or bottom[1].shape[2:]
        step_h, step_w = self.step or (height / rows, width / columns)
        x, y = np.meshgrid((np.arange(columns) + param.offset) * step_w, (np.arange(rows) + param.offset) * step_h)
        centres = np.stack([x, y], -1)[:, :, None]                  # (rows, columns, 1, 2)
        halves = np.array(self.sizes) / 2
        boxes = np.concatenate([centres - halves, centres + halves], -1) / [width, height, width, height]
        if param.clip:
            boxes = boxes.clip(0, 1)
        variances = np.broadcast_to(self.variances, boxes.shape)
        top[0].tensor = torch.tensor(np.stack([boxes.ravel(), variances.ravel()])[None],
                                     dtype=device.float_type(), device=device.current_device())

    def backward(self, top, propagate_down, bottom):
        """No gradient."""
