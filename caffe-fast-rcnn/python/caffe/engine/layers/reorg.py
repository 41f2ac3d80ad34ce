"""Reorg: YOLO v2's passthrough layer."""
from __future__ import annotations

import torch

from ..layer import Layer, register


@register("Reorg")
class Reorg(Layer):
    """Space to depth, in Darknet's order: a smaller image with more channels; with `reverse`, depth to space.

    bottoms  (N, C, H, W); C must be divisible by s^2, and without `reverse` H and W by s
    tops     (N, C s^2, H / s, W / s); with reverse (N, C / s^2, H s, W s)
    param    reorg_param: stride, s; reverse (false)

    reverse:  top[n, c, y s + i, x s + j] = bottom[n, (i s + j) C / s^2 + c, y, x]
    without:  the bottom's memory is read as (N, C / s^2, H s, W s); pixel (y s + i, x s + j) of channel c moves to
              pixel (y, x) of channel (i s + j) C / s^2 + c; the memory of the result, (N, C, H, W), is read as the top.
              The channels of a top pixel thus come from different places; nets were trained with this Darknet behaviour

    Redmon and Farhadi, "YOLO9000", 2016. Source: src/caffe/layers/reorg_layer.cpp of caffe-yolov2; Darknet's reorg_cpu.
    """

    exact_bottoms = exact_tops = 1
    backward_reads_bottoms = backward_reads_tops = False

    def setup(self, bottom, top):
        param = self.param.reorg_param
        self.stride, self.reverse = param.stride, param.reverse
        if self.stride < 1:
            self.fail(f"reorg_param needs a stride of at least 1, found {self.stride}")

    def reshape(self, bottom, top):
        shape, stride = bottom[0].shape, self.stride
        if len(shape) != 4:
            self.fail(f"expected a bottom of 4 axes (N, C, H, W), found shape {shape}")
        num, channels, height, width = shape
        if channels % stride ** 2:
            self.fail(f"stride {stride} must divide the channels by {stride ** 2}, found {channels}")
        self.spread = num, channels // stride ** 2, height * stride, width * stride
        if self.reverse:
            top[0].reshape(*self.spread)
            return
        if height % stride or width % stride:
            self.fail(f"stride {stride} must divide height and width, found {height} x {width}")
        top[0].reshape(num, channels * stride ** 2, height // stride, width // stride)

    def forward(self, bottom, top):
        value = bottom[0].tensor
        if self.reverse:
            top[0].tensor = spread_to_space(value, self.stride)
        else:
            top[0].tensor = gathered_in_depth(value.reshape(self.spread), self.stride).reshape(top[0].shape)

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        gradient, shape = top[0].grad, bottom[0].shape
        if self.reverse:
            bottom[0].grad = gathered_in_depth(gradient, self.stride)
        else:
            bottom[0].grad = spread_to_space(gradient.reshape(shape), self.stride).reshape(shape)


def gathered_in_depth(value: torch.Tensor, stride: int) -> torch.Tensor:
    """Space to depth: (N, C, H s, W s) as (N, s^2 C, H, W).

    Pixel (y s + i, x s + j) of channel c becomes pixel (y, x) of channel (i s + j) C + c.
    """
    num, channels, height, width = value.shape
    apart = value.reshape(num, channels, height // stride, stride, width // stride, stride)
    return apart.permute(0, 3, 5, 1, 2, 4).reshape(num, channels * stride ** 2, height // stride, width // stride)


def spread_to_space(value: torch.Tensor, stride: int) -> torch.Tensor:
    """Depth to space, the inverse of `gathered_in_depth`."""
    num, channels, height, width = value.shape
    apart = value.reshape(num, stride, stride, channels // stride ** 2, height, width)
    return apart.permute(0, 3, 4, 1, 5, 2).reshape(num, channels // stride ** 2, height * stride, width * stride)
