"""Upsample: unpooling with a mask, or nearest-neighbour upsampling."""
from __future__ import annotations

import torch

from ..layer import Layer, register


@register("Upsample")
class Upsample(Layer):
    """With a mask, SegNet's unpooling; without, nearest-neighbour upsampling (YOLO forks).

    Unpooling puts each value where a MAX Pooling took it from, and 0 elsewhere. Upsampling repeats each pixel
    scale x scale times.

    bottoms  (N, C, H, W); optionally the mask, same shape: the second top of a Pooling, positions y W' + x in the top.
             Only the first receives a gradient; the mask's is left unchanged
    tops     (N, C, H', W')
    param    upsample_param: scale | scale_h, scale_w: H' = scale H. With a mask also upsample_h, upsample_w: H' and W'
             themselves; pad_out_h, pad_out_w: one row or column less, for scale 2. Without a mask, scale is required:
             the forks disagree about its default

    If positions coincide, the last value wins, and all receive the gradient of that position.
    Source: src/caffe/layers/upsample_layer.cpp of SegNet, which keeps the top's size of the first batch; here it
    follows the bottom.
    """

    min_bottoms = 1
    max_bottoms = 2
    exact_tops = 1
    backward_reads_tops = False

    def setup(self, bottom, top):
        param = self.param.upsample_param
        if len(bottom) == 1:
            others = [name for name in ("pad_out_h", "pad_out_w", "upsample_h", "upsample_w") if param.HasField(name)]
            if others:
                self.fail(f"{others[0]} needs a mask as the second bottom, found none")
            if not (param.HasField("scale") or param.HasField("scale_h")):
                self.fail("needs upsample_param { scale } without a mask")
        self._check_pairs()
        self.scales = (param.scale_h, param.scale_w) if param.HasField("scale_h") else (param.scale,) * 2
        if min(self.scales) < 1:
            self.fail(f"scale must be at least 1, found {self.scales}")
        for name, wanted, scale in zip("hw", (param.pad_out_h, param.pad_out_w), self.scales, strict=True):
            if wanted and scale != 2:
                self.fail(f"pad_out_{name} needs a scale of 2, found {scale}")

    def _check_pairs(self) -> None:
        param = self.param.upsample_param
        for name in ("scale", "upsample"):
            if param.HasField(f"{name}_h") != param.HasField(f"{name}_w"):
                self.fail(f"expected both {name}_h and {name}_w, or neither")
        if param.HasField("scale") and param.HasField("scale_h"):
            self.fail("expected either scale, or scale_h and scale_w")

    def reshape(self, bottom, top):
        param, shape = self.param.upsample_param, bottom[0].shape
        if len(shape) != 4:
            self.fail(f"expected a bottom of 4 axes (N, C, H, W), found shape {shape}")
        if len(bottom) == 2 and bottom[1].shape != shape:
            self.fail(f"expected a mask of the bottom's shape {shape}, found {bottom[1].shape}")
        height = param.upsample_h or shape[2] * self.scales[0] - param.pad_out_h
        width = param.upsample_w or shape[3] * self.scales[1] - param.pad_out_w
        top[0].reshape(*shape[:2], height, width)

    def forward(self, bottom, top):
        if len(bottom) == 1:
            repeated = bottom[0].tensor.repeat_interleave(self.scales[0], 2)
            top[0].tensor = repeated.repeat_interleave(self.scales[1], 3)
            return
        shape = top[0].shape
        places = self._places(bottom[1].tensor, shape[2] * shape[3])
        flat = bottom[0].tensor.new_zeros(*shape[:2], shape[2] * shape[3])
        top[0].tensor = flat.scatter_(2, places, bottom[0].tensor.flatten(2)).reshape(shape)

    def _places(self, mask: torch.Tensor, count: int) -> torch.Tensor:
        """The mask as indices into a plane of `count` pixels. Raises LayerError for an index out of range."""
        places = mask.flatten(2).long()
        if places.numel():
            low, high = (int(value) for value in places.aminmax())
            if low < 0 or high >= count:
                self.fail(f"the mask names place {low if low < 0 else high}, the top has {count} in a plane; "
                          f"its size must be that of the pooling's bottom")
        return places

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        gradient, shape = top[0].grad, bottom[0].shape
        if len(bottom) == 1:
            cells = gradient.reshape(*shape[:3], self.scales[0], shape[3], self.scales[1])
            bottom[0].grad = cells.sum((3, 5))
        else:
            places = self._places(bottom[1].tensor, gradient.shape[2] * gradient.shape[3])
            bottom[0].grad = gradient.flatten(2).gather(2, places).reshape(shape)
