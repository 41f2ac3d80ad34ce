"""LRN: local response normalisation."""
from __future__ import annotations

import torch

from ..bases.pooling import Pool, average_pool
from ..layer import Layer, register


@register("LRN")
class LRN(Layer):
    """Local response normalisation.

    top = bottom / scale ^ beta, with scale = k + alpha * mean of bottom^2 over a window of local_size

    bottoms  (N, C, H, W)
    tops     same shape
    param    lrn_param: local_size (5, odd), alpha (1), beta (0.75), k (1), norm_region ACROSS_CHANNELS (default) or
             WITHIN_CHANNEL

    ACROSS_CHANNELS: the window is local_size channels; missing channels count as 0, the divisor remains local_size.
    WITHIN_CHANNEL: the window is local_size x local_size pixels, averaged as in AVE pooling; k is 1.
    If backward runs across channels, it writes the bottom's gradient even if it was not requested.
    Source: src/caffe/layers/lrn_layer.cpp; Krizhevsky et al. 2012, section 3.3.
    """

    exact_bottoms = exact_tops = 1
    writes_unasked = True
    backward_reads_tops = False

    def setup(self, bottom, top):
        param = self.param.lrn_param
        if param.local_size % 2 == 0:
            self.fail(f"local_size must be odd, found {param.local_size}")
        self.across = param.NormRegion.Name(param.norm_region) == "ACROSS_CHANNELS"

    def reshape(self, bottom, top):
        if len(bottom[0].shape) != 4:
            self.fail(f"expected a bottom of 4 axes (N, C, H, W), found shape {bottom[0].shape}")
        top[0].reshape(*bottom[0].shape)

    def _channel_sum(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over the local_size channels around each channel."""
        reach = self.param.lrn_param.local_size // 2
        channels = value.shape[1]
        total = value.clone()
        for shift in range(1, min(reach, channels - 1) + 1):
            total[:, shift:] += value[:, :channels - shift]
            total[:, :channels - shift] += value[:, shift:]
        return total

    def _scale(self, value: torch.Tensor) -> torch.Tensor:
        param = self.param.lrn_param
        if self.across:
            return self._channel_sum(value.square()).mul_(param.alpha / param.local_size).add_(param.k)
        window = Pool((param.local_size,) * 2, pad=(param.local_size // 2,) * 2)
        return average_pool(value.square(), window) * param.alpha + 1

    def forward(self, bottom, top):
        value = bottom[0].tensor
        top[0].tensor = value * self._scale(value).pow_(-self.param.lrn_param.beta)

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0] and not self.across:
            return
        value, gradient = bottom[0].tensor, top[0].grad
        if self.across:
            bottom[0].grad = self._across_gradient(value, gradient)
        else:
            beta = self.param.lrn_param.beta
            bottom[0].grad = torch.func.vjp(lambda x: x * self._scale(x).pow(-beta), value)[1](gradient)[0]

    def _across_gradient(self, value: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """dtop scale^-beta - 2 alpha beta / n bottom * (sum over the window of dtop bottom scale^(-beta-1))"""
        param = self.param.lrn_param
        scale = self._scale(value)
        direct = gradient * scale.pow(-param.beta)
        shared = self._channel_sum(direct * value / scale)
        return direct - shared * value * (2 * param.alpha * param.beta / param.local_size)
