"""Base of SoftmaxWithLoss and SoftmaxWithLossOHEM."""
from __future__ import annotations

import math

import torch

from .losses import LOG_FLT_MIN, LossLayer, outer_and_inner


class SoftmaxLossLayer(LossLayer):
    """Softmax and multinomial logistic loss. Tops: loss, probabilities, loss of each label; subclasses limit them."""

    exact_tops = None
    min_tops = 1
    backward_reads_tops = False
    other_settings = ("softmax_param", "loss_param")

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        shape = bottom[0].shape
        self.softmax_axis = self.axis(self.param.softmax_param.axis, len(shape), "softmax_param.axis")
        self.outer, self.inner = outer_and_inner(shape, self.softmax_axis)
        if bottom[1].count != self.outer * self.inner:
            self.fail(f"scores of shape {shape} with axis {self.softmax_axis} need {self.outer * self.inner} labels, "
                      f"found {bottom[1].count} (shape {bottom[1].shape})")
        for blob, classes in zip(top[1:], (shape[self.softmax_axis], 1), strict=False):
            blob.reshape(*shape[:self.softmax_axis], classes, *shape[self.softmax_axis + 1:])

    def _targets(self, labels) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Class indices (outer, 1, inner), 0 for ignored labels; and which labels are valid, or None."""
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
        for blob, values in zip(top[1:], (self.prob, losses), strict=False):
            blob.tensor = values.reshape(blob.shape).clone()

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        targets, valid = self._targets(bottom[1])
        classes = self.prob.shape[1]
        scale = top[0].grad / self.normaliser
        if len(top) > 2 and top[2].has_grad:
            scale = scale + top[2].grad.reshape(targets.shape)
        ones = scale.new_ones(()).expand(targets.shape)
        gradient = self.prob.scatter_add(1, targets.clamp(0, classes - 1), -ones) * scale
        if valid is not None:
            gradient = gradient.where(valid, 0)
        if len(top) > 1 and top[1].has_grad:
            slope = top[1].grad.reshape(self.prob.shape) * self.prob
            gradient = gradient + slope - self.prob * slope.sum(1, keepdim=True)
        bottom[0].grad = gradient.reshape(bottom[0].shape)
