"""MultinomialLogisticLoss: the cross-entropy of given probabilities."""
from __future__ import annotations

import math

import torch

from ..bases.losses import LEAST_PROBABILITY, LossLayer
from ..layer import register


@register("MultinomialLogisticLoss")
class MultinomialLogisticLoss(LossLayer):
    """Cross-entropy of given probabilities: loss = -sum over n of log max(bottom0[n, label n], 1e-20) / N

    bottoms  probabilities (N, K...); N labels in 0..K-1
    tops     loss ()

    Source: src/caffe/layers/multinomial_logistic_loss_layer.cpp.
    """

    backward_reads_tops = False

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        if bottom[1].count != bottom[0].shape[0]:
            self.fail(f"expected {bottom[0].shape[0]} labels, found {bottom[1].count} (shape {bottom[1].shape})")

    def _probability(self, bottom) -> tuple[torch.Tensor, torch.Tensor]:
        """The probability of each label, and the labels: (N, 1) each."""
        shape = bottom[0].shape
        rows = bottom[0].tensor.reshape(shape[0], math.prod(shape[1:]))
        labels = self.labels(bottom[1], rows.shape[0], rows.shape[1])[:, None]
        return rows.gather(1, labels).clamp(min=LEAST_PROBABILITY), labels

    def forward(self, bottom, top):
        top[0].tensor = -self._probability(bottom)[0].log().sum() / bottom[0].shape[0]

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            probability, labels = self._probability(bottom)
            values = -(top[0].grad / bottom[0].shape[0]) / probability
            gradient = values.new_zeros(probability.shape[0], math.prod(bottom[0].shape[1:]))
            bottom[0].grad = gradient.scatter_(1, labels, values).reshape(bottom[0].shape)
