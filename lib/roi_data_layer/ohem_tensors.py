"""Online hard example mining on the device: the computations of ohem.py with PyTorch tensor methods.

Nothing here reads a value, so nothing synchronises with the GPU. Arguments and results are those of ohem.py, as
tensors.
"""
from __future__ import annotations

from roi_data_layer.ohem import LEAST_PROBABILITY
from utils.other_caffe import Tensor


def roi_losses(cls_prob: Tensor, labels: Tensor, *boxes: Tensor) -> Tensor:
    """As `ohem.roi_losses`. An invalid label, which cannot be reported here, counts as the nearest class."""
    labels, probabilities = labels.flatten().long(), cls_prob.flatten(1)
    column = labels.clamp(0, probabilities.shape[1] - 1)[:, None]
    losses = -probabilities.gather(1, column)[:, 0].double().clamp_min(LEAST_PROBABILITY).log()
    if not boxes:
        return losses
    of_boxes = _box_losses(*(tensor.flatten(1) for tensor in boxes))
    return losses + of_boxes.masked_fill(labels <= 0, 0)


def _box_losses(pred: Tensor, target: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    error = (inside * (pred - target)).double().abs()
    losses = outside * (0.5 * error * error).where(error < 1, error - 0.5)
    by_class = losses.masked_fill(inside == 0, 0).unflatten(1, (-1, 4))
    dx, dy, dw, dh = by_class.sum(1).unbind(1)      # only one class has weights: adding the others' zeros is exact
    return dx + dy + dw + dh                        # in ohem.py's order, so that equal losses are equal here too


def select_hard_examples(losses: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest losses (or all), largest first.

    Ties keep their order; NaN losses come last, as in NumPy.
    """
    return (-losses).argsort(dim=0, stable=True)[:count]


def add_random_rois(hard: Tensor, labels: Tensor, count: int, most_foreground: int, order: Tensor) -> Tensor:
    """As `ohem.add_random_rois`."""
    is_hard = labels.new_zeros(len(labels)).index_fill(0, hard, 1)
    by_choice = is_hard.index_select(0, order).argsort(dim=0, stable=True)
    others = order.index_select(0, by_choice[:len(labels) - len(hard)])
    foreground = labels.index_select(0, others) > 0
    surplus = foreground & (foreground.cumsum(0) > most_foreground)
    ranks = (~foreground).long() + 2 * surplus.long()
    chosen = others.index_select(0, ranks.argsort(dim=0, stable=True)[:count])
    both = hard.new_empty(len(hard) + len(chosen))
    both[:len(hard)], both[len(hard):] = hard, chosen
    return both
