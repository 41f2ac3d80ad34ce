"""Im2col: unfold the windows of a convolution into channels."""
from __future__ import annotations

import math

import torch

from ..bases.windows import read_window, windows_of
from ..layer import AutogradLayer, register


@register("Im2col")
class Im2col(AutogradLayer):
    """The windows of a convolution unfolded along the channel axis: top channel = (channel, tap), row-major

    bottoms  (N, C, *spatial)
    tops     (N, C * product of kernel, *output size of the convolution)
    param    convolution_param: kernel_size, stride, pad, dilation, axis, as in Convolution

    If backward runs, it writes the bottom's gradient even if it was not requested.
    Source: src/caffe/layers/im2col_layer.cpp.
    """

    exact_bottoms = exact_tops = 1
    writes_unasked = True
    other_settings = ("convolution_param",)
    unread_settings = tuple(f"convolution_param.{name}" for name in (
        "num_output", "bias_term", "group", "weight_filler", "bias_filler"))

    def setup(self, bottom, top):
        axes = len(bottom[0].shape)
        self.channel_axis = self.axis(self.param.convolution_param.axis, axes)
        if axes == self.channel_axis + 1:
            self.fail(f"needs axes after the channel axis {self.channel_axis}, found shape {bottom[0].shape}")
        self.window = read_window(self, axes - self.channel_axis - 1)

    def reshape(self, bottom, top):
        shape, axis = bottom[0].shape, self.channel_axis
        if len(shape) != axis + 1 + len(self.window.kernel):
            self.fail(f"expected {axis + 1 + len(self.window.kernel)} axes, found shape {shape}")
        spatial = self.window.output_size(shape[axis + 1:])
        if min(spatial) < 1:
            self.fail(f"{self.window} does not fit a bottom of shape {shape}: the top would be {spatial}")
        self.top_shape = (*shape[:axis], shape[axis] * math.prod(self.window.kernel), *spatial)
        top[0].reshape(*self.top_shape)

    def compute(self, *tensors: torch.Tensor) -> torch.Tensor:
        first, count = self.channel_axis + 1, len(self.window.kernel)
        taps = windows_of(tensors[0], self.window, first)
        order = [*range(first), *range(first + count, first + 2 * count), *range(first, first + count)]
        return taps.permute(order).reshape(self.top_shape)

    def backward(self, top, propagate_down, bottom):
        super().backward(top, [True], bottom)
