"""HingeLoss."""
from __future__ import annotations

import math

import torch

from ..bases.losses import LossLayer
from ..layer import register


@register("HingeLoss")
class HingeLoss(LossLayer):
    """One-versus-all hinge loss.

    loss = sum over n, k of max(0, 1 - d bottom0[n, k])^p / N, with d = 1 for the label's class and -1 for others

    bottoms  scores (N, K...); N labels in 0..K-1
    tops     loss ()
    param    hinge_loss_param.norm: L1 (default, p = 1) or L2 (p = 2)

    Forward stores the values max(0, 1 - d bottom0) in bottom 0's gradient, where they stay until backward overwrites
    them. Source: src/caffe/layers/hinge_loss_layer.cpp.
    """

    backward_reads_bottoms = backward_reads_tops = False

    def _signs(self, bottom) -> torch.Tensor:
        """The sign d of each class, (N, K)."""
        num = bottom[0].shape[0]
        classes = math.prod(bottom[0].shape[1:])
        labels = self.labels(bottom[1], num, classes)
        return bottom[0].tensor.new_full((num, classes), -1.0).scatter_(1, labels[:, None], 1.0)

    def forward(self, bottom, top):
        self.signs = self._signs(bottom)
        self.margins = (1 - self.signs * bottom[0].tensor.reshape(self.signs.shape)).clamp(min=0)
        bottom[0].grad = self.margins.reshape(bottom[0].shape)
        losses = self.margins if self._is_l1() else self.margins.square()
        top[0].tensor = losses.sum() / bottom[0].shape[0]

    def _is_l1(self) -> bool:
        param = self.param.hinge_loss_param
        return param.Norm.Name(param.norm) == "L1"

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            slope = self.margins.sign() if self._is_l1() else 2 * self.margins
            gradient = -self.signs * slope * (top[0].grad / bottom[0].shape[0])
            bottom[0].grad = gradient.reshape(bottom[0].shape)
