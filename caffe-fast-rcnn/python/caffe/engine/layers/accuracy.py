"""Accuracy: top-k classification accuracy."""
from __future__ import annotations

import torch

from .. import device
from ..bases.losses import outer_and_inner
from ..layer import Layer, register


@register("Accuracy")
class Accuracy(Layer):
    """Top-k accuracy: the fraction of labels whose class is among the top_k highest scores.

    bottoms  scores (N, ..., C, ...) with the classes at accuracy_param.axis (1); labels, one per position
    tops     accuracy (); optionally the accuracy of each class (C,), 0 for a class without labels
    param    accuracy_param: top_k (1), axis (1), ignore_label (positions with this label do not count)

    Ties count against the true class: classes with an equal score rank before it. An invalid label is
    always wrong. No gradient. Source: src/caffe/layers/accuracy_layer.cpp.
    """

    exact_bottoms = 2
    min_tops = 1
    max_tops = 2
    no_backward_to = (0, 1)
    backward_reads_bottoms = backward_reads_tops = False

    def reshape(self, bottom, top):
        param, shape = self.param.accuracy_param, bottom[0].shape
        axis = self.axis(param.axis, len(shape))
        self.outer, self.inner = outer_and_inner(shape, axis)
        if bottom[1].count != self.outer * self.inner:
            self.fail(f"scores of shape {shape} with axis {axis} need {self.outer * self.inner} labels, "
                      f"found {bottom[1].count} (shape {bottom[1].shape})")
        self.classes = shape[axis]
        if param.top_k > self.classes:
            self.fail(f"top_k {param.top_k} is more than the {self.classes} classes")
        top[0].reshape()
        if len(top) > 1:
            top[1].reshape(self.classes)

    def forward(self, bottom, top):
        param = self.param.accuracy_param
        scores = bottom[0].tensor.reshape(self.outer, self.classes, self.inner)
        labels = bottom[1].tensor.reshape(self.outer, 1, self.inner).long()
        counts = torch.ones_like(labels, dtype=torch.bool)
        if param.HasField("ignore_label"):
            counts = labels != param.ignore_label
        in_range = (labels >= 0) & (labels < self.classes)
        labels = labels.where(in_range, 0)
        as_good = (scores >= scores.gather(1, labels)).sum(1, keepdim=True)
        right = (as_good <= param.top_k) & counts & in_range
        top[0].tensor = right.sum().to(scores.dtype) / counts.sum().clamp(min=1)
        if len(top) > 1:
            top[1].tensor = self._of_class(labels, right) / self._of_class(labels, counts & in_range).clamp(min=1)

    def _of_class(self, labels: torch.Tensor, flags: torch.Tensor) -> torch.Tensor:
        """The number of flagged positions of each class, (C,)."""
        total = torch.zeros(self.classes, device=labels.device, dtype=device.float_type())
        return total.index_add_(0, labels.flatten(), flags.flatten().to(total.dtype))

    def backward(self, top, propagate_down, bottom):
        """No gradient."""
