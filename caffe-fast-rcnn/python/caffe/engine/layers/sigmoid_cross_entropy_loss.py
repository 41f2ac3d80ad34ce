"""SigmoidCrossEntropyLoss: sigmoid and cross entropy in one."""
from __future__ import annotations

import torch

from ..bases.losses import LossLayer
from ..layer import register


@register("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLoss(LossLayer):
    """Sigmoid cross-entropy loss.

    loss = -sum (t log p + (1 - t) log (1 - p)) / normaliser, with p = sigmoid(bottom 0) and targets t in bottom 1

    bottoms  scores, and targets in 0..1; the same number of values
    tops     loss ()
    param    loss_param: ignore_label (compared with the target truncated to an integer); normalization BATCH_SIZE
             (default: the first dimension), FULL, VALID or NONE. The normaliser is at least 1

    Source: src/caffe/layers/sigmoid_cross_entropy_loss_layer.cpp.
    """

    backward_reads_tops = False
    other_settings = ("loss_param",)

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        if bottom[0].count != bottom[1].count:
            self.fail("scores and targets need the same number of values, found shapes "
                      f"{bottom[0].shape} and {bottom[1].shape}")

    def _targets(self, bottom) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The targets in the scores' shape, and which of them are valid, or None."""
        targets, param = bottom[1].tensor.reshape(bottom[0].shape), self.param.loss_param
        return targets, targets.trunc() != param.ignore_label if param.HasField("ignore_label") else None

    def forward(self, bottom, top):
        scores = bottom[0].tensor
        targets, valid = self._targets(bottom)
        losses = torch.nn.functional.binary_cross_entropy_with_logits(scores, targets, reduction="none")
        if valid is not None:
            losses = losses.where(valid, 0)
        outer = bottom[0].shape[0]
        inner = bottom[0].count // outer if outer else 0
        self.normaliser = self.divisor(self.normalization("BATCH_SIZE"), outer, inner,
                                       None if valid is None else valid.sum())
        top[0].tensor = losses.sum() / self.normaliser

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            targets, valid = self._targets(bottom)
            gradient = (torch.sigmoid(bottom[0].tensor) - targets) * (top[0].grad / self.normaliser)
            bottom[0].grad = gradient if valid is None else gradient.where(valid, 0)
