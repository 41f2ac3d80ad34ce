"""EuclideanLoss: half the mean squared error per item."""
from __future__ import annotations

from ..bases.losses import LossLayer
from ..layer import register


@register("EuclideanLoss")
class EuclideanLoss(LossLayer):
    """Squared-error loss: loss = sum (bottom 0 - bottom 1)^2 / (2 N), with N the first dimension

    bottoms  two with the same first dimension and number of values; both can receive a gradient
    tops     loss ()

    Source: src/caffe/layers/euclidean_loss_layer.cpp.
    """

    no_backward_to = not_forced = ()
    backward_reads_bottoms = backward_reads_tops = False

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        if bottom[0].count != bottom[1].count:
            self.fail(f"bottoms need the same number of values, found shapes {bottom[0].shape} and {bottom[1].shape}")

    def forward(self, bottom, top):
        self.difference = bottom[0].tensor - bottom[1].tensor.reshape(bottom[0].shape)
        top[0].tensor = self.difference.square().sum() / (2 * bottom[0].shape[0])

    def backward(self, top, propagate_down, bottom):
        for blob, wanted, sign in zip(bottom, propagate_down, (1, -1), strict=True):
            if wanted:
                scale = top[0].grad * sign / blob.shape[0]
                blob.grad = (self.difference * scale).reshape(blob.shape)
