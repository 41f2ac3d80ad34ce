"""ContrastiveLoss: the loss of pairs that should be close or far apart."""
from __future__ import annotations

import torch

from ..bases.losses import LossLayer
from ..layer import register


@register("ContrastiveLoss")
class ContrastiveLoss(LossLayer):
    """Loss of similar and dissimilar pairs.

    loss = sum over pairs of (y d^2 + (1 - y) max(margin - d, 0)^2) / (2 N), with d = |a - b|

    bottoms  a and b (N, C), or (N, C, 1, 1); N values y: 1 for similar pairs, 0 for dissimilar ones; y has no gradient
    tops     loss ()
    param    contrastive_loss_param: margin (1); legacy_version (false): max(margin - d^2, 0) for dissimilar pairs

    The gradient divides by d + 1e-4. Hadsell et al. 2006; source: src/caffe/layers/contrastive_loss_layer.cpp.
    """

    exact_bottoms = 3
    no_backward_to = ()
    not_forced = (2,)
    backward_reads_bottoms = backward_reads_tops = False

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        top[0].reshape()
        if not 2 <= len(shape) <= 4 or bottom[0].count != shape[0] * shape[1] or bottom[1].shape != shape:
            self.fail("the first two bottoms need one shape (N, C) or (N, C, 1, 1), found "
                      f"{shape} and {bottom[1].shape}")
        if bottom[2].count != shape[0]:
            self.fail(f"expected {shape[0]} similarities, found {bottom[2].count} (shape {bottom[2].shape})")

    def forward(self, bottom, top):
        param = self.param.contrastive_loss_param
        self.difference = (bottom[0].tensor - bottom[1].tensor).flatten(1)
        self.squares = self.difference.square().sum(1)
        self.similar = bottom[2].tensor.flatten().trunc() != 0
        if param.legacy_version:
            apart = (param.margin - self.squares).clamp(min=0)
        else:
            apart = (param.margin - self.squares.sqrt()).clamp(min=0).square()
        top[0].tensor = self.squares.where(self.similar, apart).sum() / (2 * bottom[0].shape[0])

    def _apart_slope(self) -> torch.Tensor:
        """The factor of the difference in the gradient of a dissimilar pair, (N,)."""
        param = self.param.contrastive_loss_param
        if param.legacy_version:
            return -(self.squares < param.margin).to(self.squares.dtype)
        distance = self.squares.sqrt()
        return -(param.margin - distance).clamp(min=0) / (distance + 1e-4)

    def backward(self, top, propagate_down, bottom):
        slope = self._apart_slope().where(~self.similar, 1)
        gradient = self.difference * slope[:, None] * (top[0].grad / bottom[0].shape[0])
        for index, sign in ((0, 1), (1, -1)):
            if propagate_down[index]:
                bottom[index].grad = (sign * gradient).reshape(bottom[index].shape)
