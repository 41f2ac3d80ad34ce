"""CTCLoss and CtcLoss: connectionist temporal classification, with the settings of two forks."""
from __future__ import annotations

import torch

from ..bases.ctc import CTCLossLayer, check_table, checked_blank, to_front
from ..layer import register


@register("CTCLoss")
class CTCLoss(CTCLossLayer):
    """CTC loss, with the sequence lengths given by an indicator bottom.

    loss = mean over items of -log p(labels)

    bottoms  scores (T, N, C); indicators (T, N), 0 where a sequence begins: it ends before the next 0; labels (L, N),
             which end at the first negative value or blank
    tops     loss (). The gradient is that of the sum over items
    param    ctc_loss_param: blank_index, the blank class (default: the last); preprocess_collapse_repeated (false):
             merge equal consecutive labels

    Items without labels, or with more labels than the time steps can hold, have loss 0 and no gradient.
    Source: src/caffe/layers/ctc_loss_layer.cpp of ChWick's Caffe, which rejects labels longer than their sequence and
    ignores the loss weight in backward.
    """

    exact_bottoms = 3
    skips_empty = True
    no_backward_to = not_forced = (1, 2)
    unread_settings = tuple(f"ctc_loss_param.{name}" for name in (
        "loss_calculation_t", "alphabet_size", "time_step", "blank_label"))

    def setup(self, bottom, top):
        param = self.param.ctc_loss_param
        if param.output_delay:
            self.fail(f"ctc_loss_param: only output_delay 0 is supported, found {param.output_delay}")
        if not param.ctc_merge_repeated:
            self.fail("ctc_loss_param: only ctc_merge_repeated true is supported, found false")

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        param = self.param.ctc_loss_param
        index = param.blank_index if param.HasField("blank_index") else -1
        self.blank = checked_blank(self, index, self.classes, "blank_index")
        check_table(self, bottom[1], "indicators", (self.steps, self.items))
        check_table(self, bottom[2], "labels", (None, self.items))

    def targets(self, *bottoms):
        begins, labels = bottoms[0].flatten(1).T == 0, bottoms[1].flatten(1).T
        steps = _before_first(begins[:, 1:]) + 1
        kept = torch.arange(labels.shape[1], device=labels.device) < _before_first(
            (labels < 0) | (labels == self.blank))[:, None]
        if self.param.ctc_loss_param.preprocess_collapse_repeated:
            kept[:, 1:] &= labels[:, 1:] != labels[:, :-1]
        return *to_front(labels, kept), steps


def _before_first(flags: torch.Tensor) -> torch.Tensor:
    """The number of values before the first one set, for each row of (N, L): (N,)."""
    return (flags.cumsum(1) == 0).sum(1)


@register("CtcLoss")
class CtcLoss(CTCLossLayer):
    """CTC loss: mean over items of -log p(labels), with p(labels) summed over all alignments of softmax(scores)

    bottoms  scores (T, N, C); labels (N, L); blanks anywhere in them are skipped
    tops     loss (). The gradient is that of the sum over items
    param    ctc_loss_param: blank_label (0), the blank class; alphabet_size, which must be C if given; time_step, the
             number of time steps to use, at most T (default: all)

    WarpCTCLoss with other settings. Source: src/caffe/layers/ctc_loss_layer.cpp of crnn.caffe.
    """

    unread_settings = tuple(f"ctc_loss_param.{name}" for name in (
        "output_delay", "blank_index", "preprocess_collapse_repeated", "ctc_merge_repeated", "loss_calculation_t"))

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        param = self.param.ctc_loss_param
        if param.alphabet_size not in (0, self.classes):
            self.fail(f"alphabet_size is {param.alphabet_size}, but the scores have {self.classes} classes")
        if param.time_step > self.steps:
            self.fail(f"time_step is {param.time_step}, but the scores have {self.steps} time steps")
        self.steps = param.time_step or self.steps
        self.blank = checked_blank(self, param.blank_label, self.classes, "blank_label")
        check_table(self, bottom[1], "labels", (self.items, None))
