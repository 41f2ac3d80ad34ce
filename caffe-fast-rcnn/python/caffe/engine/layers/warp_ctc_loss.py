"""WarpCTCLoss: connectionist temporal classification with labels padded by blanks."""
from __future__ import annotations

from ..bases.ctc import CTCLossLayer, check_table, checked_blank
from ..layer import register


@register("WarpCTCLoss")
class WarpCTCLoss(CTCLossLayer):
    """CTC loss: mean over items of -log p(labels), with p(labels) summed over all alignments of softmax(scores)

    bottoms  scores (T, N, C); labels (N, L); blanks anywhere in them are skipped
    tops     loss (). The gradient is that of the sum over items
    param    ctc_loss_param: blank_index (0), the blank class; -1 for the last

    Labels that do not fit into T time steps (one each, and one more between equal labels) have loss 0 and no gradient.
    Source: src/caffe/layers/warp_ctc_loss_layer.cpp of caffe_ocr, which ignores the loss weight in backward. Its
    variants with more bottoms are not supported.
    """

    unread_settings = tuple(f"ctc_loss_param.{name}" for name in (
        "output_delay", "preprocess_collapse_repeated", "ctc_merge_repeated", "loss_calculation_t", "alphabet_size",
        "time_step", "blank_label"))

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        self.blank = checked_blank(self, self.param.ctc_loss_param.blank_index, self.classes, "blank_index")
        check_table(self, bottom[1], "labels", (self.items, None))
