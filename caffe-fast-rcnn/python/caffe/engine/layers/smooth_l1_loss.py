"""SmoothL1Loss: the loss of bounding-box regression."""
from __future__ import annotations

from ...kernels import smooth_l1
from ..bases.losses import check_like_prediction
from ..layer import Layer, register


@register("SmoothL1Loss")
class SmoothL1Loss(Layer):
    """Smooth L1 loss of bounding-box regression.

    loss = sum of outside * f(inside * (prediction - target)) / N, with N the first dimension

    f(d) = sigma^2 d^2 / 2  if |d| < 1 / sigma^2,  else |d| - 1 / (2 sigma^2)

    bottoms  prediction and target (N, ...); optionally inside weights, or inside and outside weights, of the same shape
             (1 unless given); prediction and target receive a gradient, the weights never do
    tops     loss (); without a loss_weight in the prototxt there is no loss and no gradient
    param    smooth_l1_loss_param: sigma (1)

    Source: Girshick, "Fast R-CNN", 2015, equation 3; sigma comes from the Faster R-CNN code.
    """

    min_bottoms = 2
    max_bottoms = 4
    exact_tops = 1
    backward_reads_bottoms = backward_reads_tops = False

    def setup(self, bottom, top):
        self.sigma = self.param.smooth_l1_loss_param.sigma
        if not self.sigma > 0:
            self.fail(f"smooth_l1_loss_param needs a sigma above 0, found {self.sigma}")

    def reshape(self, bottom, top):
        if not bottom[0].shape:
            self.fail("the prediction needs a first axis that counts items, found a scalar")
        check_like_prediction(self, bottom)
        top[0].reshape()

    def forward(self, bottom, top):
        loss, self.slope = smooth_l1(*(blob.tensor for blob in bottom), sigma=self.sigma)
        top[0].tensor = loss.sum() / max(bottom[0].shape[0], 1)

    def backward(self, top, propagate_down, bottom):
        for blob, wanted, sign in zip(bottom[:2], propagate_down[:2], (1, -1), strict=True):
            if wanted:
                scale = top[0].grad * (sign / max(blob.shape[0], 1))
                blob.grad = (self.slope * scale).reshape(blob.shape)
