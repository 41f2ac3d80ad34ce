"""LabelsequenceAccuracy: the accuracy of whole label sequences."""
from __future__ import annotations

import torch
from torch.nn.functional import pad

from ..bases.ctc import check_table, checked_blank, labels_of_paths, to_front
from ..layer import AutogradLayer, register


@register("LabelsequenceAccuracy")
class LabelsequenceAccuracy(AutogradLayer):
    """The fraction of items whose decoded label sequence equals the true one.

    bottoms  scores (N, T, C), unlike those of CTCGreedyDecoder; labels (N, L); blanks in them are skipped
    tops     accuracy (); 0 for an empty batch
    param    labelsequence_accuracy_param: blank_label (0), the blank class

    Decoding takes the best class of each time step, the first of a tie, and drops repetitions and blanks.
    No gradient. Source: src/caffe/layers/labelsequence_accuracy_layer.cpp of crnn.caffe.
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
    """Labels (N, L) as (N, width), padded with -1, which is no label, after the first `counts` of each row."""
    labels = pad(labels, (0, width - labels.shape[1]))
    return labels.where(torch.arange(width, device=labels.device) < counts[:, None], -1)
