"""SmoothL1LossOHEM: SmoothL1Loss that also returns the loss of each RoI."""
from __future__ import annotations

import math

from ...kernels import smooth_l1
from ..bases.losses import LossLayer, check_like_prediction
from ..layer import register


@register("SmoothL1LossOHEM")
class SmoothL1LossOHEM(LossLayer):
    """Smooth L1 loss of bounding-box regression that also returns the loss of each RoI.

    loss = sum of f(weight * (prediction - target)) / normaliser, with f as in SmoothL1Loss for sigma 1

    bottoms  prediction and target (N, C, ...), optionally weights of the same shape; prediction and target receive a
             gradient, the weights never do
    tops     loss (); optionally the loss of each RoI (N, 1, ...), summed over the channels and not normalised; its
             gradient is propagated too. Without a loss_weight in the prototxt there is no loss and no gradient
    param    loss_param: normalization VALID (default) and FULL (N and all axes after the channels), BATCH_SIZE (N),
             NONE (1) or PRE_FIXED (pre_fixed_normalizer). The normaliser is at least 1

    Source: src/caffe/layers/smooth_l1_loss_ohem_layer.cu of R-FCN, whose gradient is only correct for weights of 0 and
    1, and which ignores the gradient of the RoIs' losses.
    """

    exact_bottoms = exact_tops = None
    min_bottoms, max_bottoms = 2, 3
    min_tops, max_tops = 1, 2
    auto_top_blobs = False
    default_loss_weight = 0.0
    no_backward_to = not_forced = ()
    backward_reads_bottoms = backward_reads_tops = False
    other_settings = ("loss_param",)
    unread_settings = ("loss_param.ignore_label",)

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        if len(shape) < 2:
            self.fail(f"expected a prediction of shape (N, C, ...), found {shape}")
        check_like_prediction(self, bottom)
        top[0].reshape()
        for blob in top[1:]:
            blob.reshape(shape[0], 1, *shape[2:])

    def forward(self, bottom, top):
        losses, self.slope = smooth_l1(*(blob.tensor for blob in bottom))
        shape = bottom[0].shape
        self.normaliser = self.divisor(self.normalization(), shape[0], math.prod(shape[2:]), None)
        top[0].tensor = losses.sum() / self.normaliser
        for blob in top[1:]:
            blob.tensor = losses.sum(1, keepdim=True)

    def backward(self, top, propagate_down, bottom):
        scale = top[0].grad / self.normaliser
        if len(top) > 1 and top[1].has_grad:
            scale = scale + top[1].grad
        for blob, wanted, sign in zip(bottom[:2], propagate_down[:2], (1, -1), strict=True):
            if wanted:
                blob.grad = (self.slope * (sign * scale)).reshape(blob.shape)
