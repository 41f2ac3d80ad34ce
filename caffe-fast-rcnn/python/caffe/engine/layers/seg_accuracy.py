"""SegAccuracy: the accuracy of semantic segmentation."""
from __future__ import annotations

import math

import torch

from ..layer import Layer, register


@register("SegAccuracy")
class SegAccuracy(Layer):
    """Pixel accuracy, mean class recall and mean IoU of a semantic segmentation.

    bottoms  scores (N, C, H, W); labels (N, 1, H, W)
    tops     (1, 1, 1, 3): the fraction of pixels whose label has the highest score; the recall, averaged over the
             classes that occur in the labels; the IoU, averaged over all classes, 1 for a class in neither labels nor
             predictions
    param    seg_accuracy_param: ignore_label (repeated: pixels that do not count), reset (true; false accumulates over
             all passes)

    Ties go to the first class. If no pixel counts, the first two values are 0. No gradient.
    Source: src/caffe/layers/seg_accuracy_layer.cpp and src/caffe/util/confusion_matrix.cpp of DeepLab.
    """

    exact_bottoms = 2
    exact_tops = 1
    no_backward_to = (0, 1)
    backward_reads_bottoms = backward_reads_tops = False
    unread_settings = ("seg_accuracy_param.metric",)

    def setup(self, bottom, top):
        self.counts: torch.Tensor | None = None     # confusion matrix of earlier passes

    def reshape(self, bottom, top):
        shape, labels = bottom[0].shape, bottom[1].shape
        if len(shape) < 2 or labels != (shape[0], 1, *shape[2:]):
            self.fail(f"expected scores of shape (N, C, H, W) and labels (N, 1, H, W), found {shape} and {labels}")
        top[0].reshape(1, 1, 1, 3)

    def forward(self, bottom, top):
        scores, classes = bottom[0].tensor, bottom[0].shape[1]
        labels, best = bottom[1].tensor.flatten().long(), scores.argmax(1).flatten()
        ignored = torch.isin(labels, labels.new_tensor(list(self.param.seg_accuracy_param.ignore_label)))
        known = (labels >= 0) & (labels < classes)
        unknown = ~(known | ignored)
        if labels.device.type == "cpu" and unknown.any():       # on CUDA the check would synchronise
            self.fail(f"labels must be in 0..{classes - 1} or an ignore_label, found {int(labels[unknown][0])}")
        place = (labels * classes + best).where(known & ~ignored, classes ** 2)
        matrix = torch.bincount(place, minlength=classes ** 2 + 1)[:-1].reshape(classes, classes)
        if not self.param.seg_accuracy_param.reset:
            matrix = self.counts = matrix if self.counts is None else matrix + self.counts.to(matrix.device)
        found = measures(matrix).where(~unknown.any(), math.nan)
        top[0].tensor = found.to(scores.dtype).reshape(1, 1, 1, 3)

    def backward(self, top, propagate_down, bottom):
        """No gradient."""


def measures(matrix: torch.Tensor) -> torch.Tensor:
    """Pixel accuracy, mean recall and mean IoU of a confusion matrix [label, prediction], in float64."""
    right, of_label, found = matrix.diagonal().double(), matrix.sum(1).double(), matrix.sum(0).double()
    union, present = of_label + found - right, of_label > 0
    recall = (right / of_label.clamp(min=1)).sum() / present.sum().clamp(min=1)
    overlap = (right / union).where(union > 0, 1).mean()
    return torch.stack([right.sum() / of_label.sum().clamp(min=1), recall, overlap])
