"""CTCGreedyDecoder: the labels of the best CTC path, or their accuracy."""
from __future__ import annotations

import torch

from ..bases.ctc import check_table, checked_blank, labels_of_paths, steps_items_classes, to_front
from ..layer import AutogradLayer, register


@register("CTCGreedyDecoder")
class CTCGreedyDecoder(AutogradLayer):
    """Greedy CTC decoding: the best class of each time step, without repetitions and blanks.

    bottoms  scores (T, N, C); optionally the true labels (N, L), which end at the first negative value; blanks in them
             are skipped
    tops     without true labels: the decoded labels (N, T, 1, 1), padded with -1. With them: (1, 2, 1, 1), first
             1 - the mean over items of edit distance / number of labels (true or decoded, whichever is larger), then
             the fraction of items without errors
    param    ctc_decoder_param: blank_index (0), the blank class, -1 for the last; ctc_merge_repeated (true): merge
             repetitions

    Ties go to the first class. An item with neither true nor decoded labels adds no distance and does not count as free
    of errors. No gradient. Source: src/caffe/layers/ctc_decoder_layer.cpp of caffe_ocr.
    """

    min_bottoms, max_bottoms = 1, 2
    exact_tops = 1
    no_backward_to = (0, 1)
    backward_reads_bottoms = False

    def reshape(self, bottom, top):
        self.steps, items, classes = steps_items_classes(self, bottom[0])
        self.blank = checked_blank(self, self.param.ctc_decoder_param.blank_index, classes, "blank_index")
        if len(bottom) > 1:
            check_table(self, bottom[1], "labels", (items, None))
            top[0].reshape(1, 2, 1, 1)
        else:
            top[0].reshape(items, self.steps, 1, 1)

    def compute(self, *tensors: torch.Tensor):
        found, counts = labels_of_paths(tensors[0].flatten(2).argmax(2).T, self.blank,
                                        self.param.ctc_decoder_param.ctc_merge_repeated)
        if len(tensors) > 1:
            return self._match(found, counts, tensors[1].flatten(1))
        filled = torch.arange(self.steps, device=found.device) < counts[:, None]
        return found.where(filled, -1)[..., None, None].to(tensors[0].dtype)

    def _match(self, found: torch.Tensor, counts: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        ended = (labels < 0).cumsum(1) > 0
        true, true_counts = to_front((labels + 0.5).long(), ~ended & ((labels + 0.5).long() != self.blank))
        errors = right = 0.0
        for own, number, other, true_number in zip(found.tolist(), counts.tolist(), true.tolist(),
                                                   true_counts.tolist(), strict=True):
            if number or true_number:
                distance = edit_distance(own[:number], other[:true_number])
                errors += distance / max(number, true_number)
                right += distance == 0
        items = max(1, len(labels))
        return labels.new_tensor([1 - errors / items, right / items]).reshape(1, 2, 1, 1)

    def backward(self, top, propagate_down, bottom):
        """No gradient."""


def edit_distance(first: list[int], second: list[int]) -> int:
    """The Levenshtein distance of two lists: the fewest insertions, deletions and substitutions between them."""
    row = list(range(len(second) + 1))
    for index, value in enumerate(first, 1):
        before, row = row, [index]
        for place, other in enumerate(second):
            row.append(min(before[place + 1] + 1, row[place] + 1, before[place] + (value != other)))
    return row[-1]
