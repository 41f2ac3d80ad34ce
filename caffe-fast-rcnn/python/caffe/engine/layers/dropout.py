"""Dropout."""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .. import device
from ..layer import TRAIN, Layer, register


@register("Dropout")
class Dropout(Layer):
    """TRAIN: zero each value with probability dropout_param.dropout_ratio (0.5). TEST: the identity.

    With scale_train (true), TRAIN multiplies the kept values by 1 / (1 - ratio). With `scale_train: false`, a field of
    the R-CNN fork that ZF nets use, TEST multiplies all values by 1 - ratio instead. The probability is accurate to
    2^-17.
    Source: src/caffe/layers/dropout_layer.cpp; Srivastava et al. 2014.
    """

    exact_bottoms = exact_tops = 1
    runs_in_place = True
    backward_reads_bottoms = backward_reads_tops = False
    keeps_signs = True

    def setup(self, bottom, top):
        ratio = self.param.dropout_param.dropout_ratio
        if not 0 <= ratio < 1:
            self.fail(f"dropout_ratio must be at least 0 and below 1, found {ratio}")

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        param, value = self.param.dropout_param, bottom[0].stored
        keep = 1 - param.dropout_ratio
        if self.phase == TRAIN:
            mask = _draw(value.shape, keep)
            top[0].tensor = self._masked(value, mask)
            if self.needs_backward:
                self.mask = mask
        elif not param.scale_train:
            top[0].tensor = value * keep
        elif top[0] is not bottom[0]:
            top[0].tensor = value.clone()

    def _masked(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The kept values, scaled, as a new tensor."""
        param = self.param.dropout_param
        kept = values * mask
        return kept.mul_(1 / (1 - param.dropout_ratio)) if param.scale_train else kept

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        param, gradient = self.param.dropout_param, top[0].stored_grad
        if self.phase == TRAIN:
            bottom[0].grad = self._masked(gradient, self.mask)
        else:
            bottom[0].grad = gradient if param.scale_train else gradient * (1 - param.dropout_ratio)


def _draw(shape: Sequence[int], probability: float) -> torch.Tensor:
    """Random booleans that are true with this probability, rounded to a multiple of 2^-16 and at least 2^-16.

    Each 64-bit random number gives four: drawing one number per value takes three times as long on the CPU.
    """
    count, where = math.prod(shape), device.current_device()
    bits = torch.empty(-(-count // 4), dtype=torch.int64, device=where)
    bits.random_(-2 ** 63, None, generator=device.generator())
    largest = max(round(probability * 2 ** 16), 1) - 1 - 2 ** 15
    return bits.view(torch.int16)[:count].view(shape) <= largest
