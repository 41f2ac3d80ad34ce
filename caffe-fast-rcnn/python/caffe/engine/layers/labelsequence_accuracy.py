"""LabelsequenceAccuracy: how many sequences of labels are right."""
from __future__ import annotations

import torch
from torch.nn.functional import pad

from ..bases.ctc import check_table, checked_blank, labels_of_paths, to_front
from ..layer import AutogradLayer, register


@register("LabelsequenceAccuracy")
class LabelsequenceAccuracy(AutogradLayer):
    """The share of items whose best path has the true labels, all of them and no other.

    bottoms  scores (N, T, C), not as those of CTCGreedyDecoder; labels (N, L), in which blanks do not count
    tops     accuracy (); 0 without items
    param    labelsequence_accuracy_param: blank_label (0), the class that stands between labels

    The best path has the class with the highest score at each time step, of equal ones the first; repetitions and
    blanks are dropped. No gradient. Source: src/caffe/layers/labelsequence_accuracy_layer.cpp of crnn.caffe.
    """

    exact_bottoms = 2
    exact_tops = 1
    no_backward_to = (0, 1)
    backward_reads_bottoms = False

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        if len(shape) != 3 or not shape[2]:
            self.fail(f"expected scores of shape (N, T, C), found {shape}")
        self.blank = checked_blank(self, self.param.labelsequence_accuracy_param.blank_label, shape[2], "blank_label")
        check_table(self, bottom[1], "labels", (shape[0], None))
        top[0].reshape()

    def compute(self, *tensors: torch.Tensor):
        labels = tensors[1].flatten(1).long()
        width = max(labels.shape[1], tensors[0].shape[1])
        found, true = (_padded(*one, width) for one in (labels_of_paths(tensors[0].argmax(2), self.blank),
                                                        to_front(labels, labels != self.blank)))
        return (found == true).all(1).sum().to(tensors[0].dtype) / max(1, len(labels))

    def backward(self, top, propagate_down, bottom):
        """No gradient."""


def _padded(labels: torch.Tensor, counts: torch.Tensor, width: int) -> torch.Tensor:
    """Labels (N, L) as (N, width), with the blank -1 behind those that count: no label is below 0."""
    labels = pad(labels, (0, width - labels.shape[1]))
    return labels.where(torch.arange(width, device=labels.device) < counts[:, None], -1)
