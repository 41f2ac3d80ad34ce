"""SoftmaxWithLoss: softmax and multinomial logistic loss in one."""
from __future__ import annotations

import math

import torch

from ..bases.losses import LOG_FLT_MIN, LossLayer, outer_and_inner
from ..layer import register


@register("SoftmaxWithLoss")
class SoftmaxWithLoss(LossLayer):
    """loss = sum over labels of -log max(softmax(bottom 0)[label], FLT_MIN) / normaliser

    bottoms  scores (N, ..., C, ...) with the classes at softmax_param.axis (1); labels, one for each position,
             0..C-1 or `ignore_label`
    tops     loss (); optionally the probabilities, shaped like the scores, whose gradient counts too
    param    loss_param: ignore_label; normalization VALID (default: labels not ignored), FULL (all labels),
             BATCH_SIZE (positions before the axis) or NONE. The normaliser is at least 1.

    The worst loss of one label is 87.3365. A label out of range raises LayerError on the CPU; on CUDA, where the
    check would stop the device, it makes the loss NaN. Source: src/caffe/layers/softmax_loss_layer.cpp.
    """

    exact_tops = None
    min_tops, max_tops = 1, 2
    backward_reads_tops = False
    other_settings = ("softmax_param", "loss_param")

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        for blob in top[1:]:
            blob.reshape(*bottom[0].shape)
        shape = bottom[0].shape
        self.softmax_axis = self.axis(self.param.softmax_param.axis, len(shape), "softmax_param.axis")
        self.outer, self.inner = outer_and_inner(shape, self.softmax_axis)
        if bottom[1].count != self.outer * self.inner:
            self.fail(f"scores of shape {shape} with axis {self.softmax_axis} need {self.outer * self.inner} labels, "
                      f"found {bottom[1].count} (shape {bottom[1].shape})")

    def _targets(self, labels) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Class indices (outer, 1, inner) that are safe to gather with, and where a label counts."""
        classes = self.prob.shape[1]
        found = labels.tensor.reshape(self.outer, 1, self.inner).long()
        valid = None
        if self.param.loss_param.HasField("ignore_label"):
            valid = found != self.param.loss_param.ignore_label
            found = found.where(valid, 0)
        self.check_labels(found, classes)
        return found, valid

    def forward(self, bottom, top):
        scores = bottom[0].tensor
        shape = (self.outer, scores.shape[self.softmax_axis], self.inner)
        log_prob = torch.log_softmax(scores.reshape(shape), dim=1)
        self.prob = log_prob.exp()
        targets, valid = self._targets(bottom[1])
        in_range = (targets >= 0) & (targets < shape[1])
        losses = -log_prob.gather(1, targets.clamp(0, shape[1] - 1)).clamp(min=LOG_FLT_MIN)
        losses = losses.where(in_range, math.nan)
        if valid is not None:
            losses = losses.where(valid, 0)
        self.normaliser = self.divisor(self.normalization(), self.outer, self.inner,
                                       None if valid is None else valid.sum())
        top[0].tensor = losses.sum() / self.normaliser
        for blob in top[1:]:
            blob.tensor = self.prob.reshape(blob.shape).clone()

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        targets, valid = self._targets(bottom[1])
        classes = self.prob.shape[1]
        scale = top[0].grad / self.normaliser
        ones = scale.new_ones(()).expand(targets.shape)
        gradient = self.prob.scatter_add(1, targets.clamp(0, classes - 1), -ones) * scale
        if valid is not None:
            gradient = gradient.where(valid, 0)
        if len(top) > 1 and top[1].has_grad:
            slope = top[1].grad.reshape(self.prob.shape) * self.prob
            gradient = gradient + slope - self.prob * slope.sum(1, keepdim=True)
        bottom[0].grad = gradient.reshape(bottom[0].shape)
