"""Interp: bilinear resizing."""
from __future__ import annotations

import torch
from torch.nn import functional

from ..layer import AutogradLayer, register


@register("Interp")
class Interp(AutogradLayer):
    """The image resized by bilinear interpolation, with aligned corners.

    Row y of the top is sampled at row y (H - 1) / (H' - 1) of the bottom, and columns in the same way.

    bottoms  (N, C, H, W); optionally a second one, whose height and width are used if interp_param gives none; it
             receives no gradient
    tops     (N, C, H', W')
    param    interp_param: height and width; or zoom_factor: (H - 1) zoom + 1; or shrink_factor: (H - 1) / shrink + 1,
             rounded down; or both factors, shrinking first. pad_beg and pad_end, at most 0, first crop that many rows
             and columns

    A single factor takes precedence over height and width, two factors do not, as in the fork.
    Source: src/caffe/layers/interp_layer.cpp of DeepLab and PSPNet.
    """

    min_bottoms = 1
    max_bottoms = 2
    exact_tops = 1

    def setup(self, bottom, top):
        param = self.param.interp_param
        if param.pad_beg > 0 or param.pad_end > 0:
            self.fail(f"pad_beg and pad_end cut off and must be at most 0, found {param.pad_beg} and {param.pad_end}")
        if param.zoom_factor < 1 or param.shrink_factor < 1:
            self.fail(f"zoom_factor and shrink_factor must be at least 1, found {param.zoom_factor} and "
                      f"{param.shrink_factor}")

    def reshape(self, bottom, top):
        param = self.param.interp_param
        for blob in bottom:
            if len(blob.shape) != 4:
                self.fail(f"expected bottoms of 4 axes (N, C, H, W), found shape {blob.shape}")
        cut = [size + param.pad_beg + param.pad_end for size in bottom[0].shape[2:]]
        if min(cut) < 1:
            self.fail(f"pad_beg {param.pad_beg} and pad_end {param.pad_end} leave nothing of a bottom of shape "
                      f"{bottom[0].shape}")
        self.size = self._size(cut, bottom)
        if min(self.size) < 1:
            self.fail(f"the top needs a height and width of at least 1, found {self.size}")
        top[0].reshape(*bottom[0].shape[:2], *self.size)

    def _size(self, cut: list[int], bottom) -> list[int]:
        """Height and width of the top; `cut` is the size of the bottom after cropping."""
        param = self.param.interp_param
        zooms, shrinks = param.HasField("zoom_factor"), param.HasField("shrink_factor")
        if zooms == shrinks and param.HasField("height") and param.HasField("width"):
            return [param.height, param.width]
        if zooms or shrinks:
            shrunk = [(size - 1) // param.shrink_factor + 1 for size in cut]
            return [(size - 1) * param.zoom_factor + 1 for size in shrunk]
        if len(bottom) == 2:
            return list(bottom[1].shape[2:])
        self.fail("needs height and width, zoom_factor, shrink_factor or a second bottom")

    def compute(self, *tensors: torch.Tensor) -> torch.Tensor:
        param, image = self.param.interp_param, tensors[0]
        height, width = image.shape[2:]
        part = image[:, :, -param.pad_beg:height + param.pad_end, -param.pad_beg:width + param.pad_end]
        return functional.interpolate(part, self.size, mode="bilinear", align_corners=True)
