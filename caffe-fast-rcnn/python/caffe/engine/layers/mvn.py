"""MVN: mean and variance normalisation of each image."""
from __future__ import annotations

import torch

from ..layer import Layer, register


@register("MVN")
class MVN(Layer):
    """Mean and variance normalisation: top = (bottom - mean) / (sqrt(variance) + eps), for each item and channel

    bottoms  up to 4 axes (N, C, H, W)
    tops     (N, C, H, W); missing axes have length 1
    param    mvn_param: normalize_variance (true), across_channels (false: statistics per channel; true: per item),
             eps (1e-9)

    The gradient is the one for eps = 0, divided by the same standard deviation; backward writes it even if it was not
    requested. Source: src/caffe/layers/mvn_layer.cpp.
    """

    exact_bottoms = exact_tops = 1
    runs_in_place = True
    writes_unasked = True
    backward_reads_bottoms = False

    def setup(self, bottom, top):
        self.reshapes_in_place = len(bottom[0].shape) < 4

    def reshape(self, bottom, top):
        blob = bottom[0]
        if len(blob.shape) > 4:
            self.fail(f"expected a bottom of up to 4 axes, found shape {blob.shape}")
        plane = blob.height * blob.width
        across = self.param.mvn_param.across_channels
        self.rows_shape = (blob.num, blob.channels * plane) if across else (blob.num * blob.channels, plane)
        top[0].reshape(blob.num, blob.channels, blob.height, blob.width)

    def forward(self, bottom, top):
        rows = bottom[0].tensor.reshape(self.rows_shape)
        rows = rows - rows.mean(1, keepdim=True)
        if self.param.mvn_param.normalize_variance:
            self.deviation = _root(rows.square().mean(1, keepdim=True)) + self.param.mvn_param.eps
            rows = rows / self.deviation
        top[0].tensor = rows.reshape(top[0].shape)

    def backward(self, top, propagate_down, bottom):
        gradient, value = (tensor.reshape(self.rows_shape) for tensor in (top[0].grad, top[0].tensor))
        result = gradient - gradient.mean(1, keepdim=True)
        if self.param.mvn_param.normalize_variance:
            result = (result - value * (gradient * value).mean(1, keepdim=True)) / self.deviation
        bottom[0].grad = result.reshape(bottom[0].shape)


def _root(variance: torch.Tensor) -> torch.Tensor:
    """The square root, whose gradient is 0 at 0, for autograd."""
    positive = variance != 0
    return torch.where(positive, variance, 1).sqrt() * positive
