"""Connectionist temporal classification (CTC): decoding, the loss, and checks of the bottoms."""
from __future__ import annotations

import math

import torch
from torch.nn.functional import ctc_loss

from ..blob import Blob
from ..layer import AutogradLayer, Layer
from .losses import LossLayer


def steps_items_classes(layer: Layer, scores: Blob) -> tuple[int, int, int]:
    """The dimensions of scores (T, N, C); axes of length 1 may follow. Raises LayerError."""
    shape = scores.shape
    if len(shape) < 3 or any(dim != 1 for dim in shape[3:]) or 0 in (shape[0], shape[2]):
        layer.fail(f"expected scores of shape (T, N, C), with time steps first, found {shape}")
    return shape[0], shape[1], shape[2]


def checked_blank(layer: Layer, index: int, classes: int, name: str) -> int:
    """The blank class: `index`, or the last class if it is negative. Raises LayerError."""
    if index >= classes:
        layer.fail(f"{name} {index} is none of the classes 0..{classes - 1}")
    return index if index >= 0 else classes - 1


def check_table(layer: Layer, blob: Blob, what: str, shape: tuple[int | None, int | None]) -> None:
    """Raise LayerError unless the blob has this shape. None matches any length, and axes of length 1 may follow."""
    found = blob.shape
    if len(found) < 2 or any(dim != 1 for dim in found[2:]) or any(
            want not in (None, dim) for want, dim in zip(shape, found, strict=False)):
        layer.fail(f"expected {what} of shape ({', '.join('L' if want is None else str(want) for want in shape)}), "
                   f"found {found}")


def to_front(values: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Move the kept values of each row (N, L) to the front, in order; returns them and their number, (N,)."""
    order = kept.logical_not().byte().argsort(dim=1, stable=True)
    return values.gather(1, order), kept.sum(1)


def labels_of_paths(path: torch.Tensor, blank: int, merge: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """The labels of paths (N, T), without blanks and repetitions, at the front of each row, and their number, (N,)."""
    kept = path != blank
    if merge:
        kept[:, 1:] &= path[:, 1:] != path[:, :-1]
    return to_front(path, kept)


class CTCLossLayer(LossLayer, AutogradLayer):
    """loss = mean over items of -log(sum over all paths of the labels of the product of softmax(scores))

    A path has one class per time step: the labels, repeated or not, with any number of blanks between them, at least
    one between equal labels. Labels that are too long for any path have loss 0. The gradient is that of the sum over
    items, not of the mean, as in all sources, because the learning rates of published solvers rely on it.

    Subclasses set `blank` in `reshape` and may override `targets`; the default is labels (N, L) without blanks.
    Graves et al., "Connectionist temporal classification", 2006.
    """

    blank = 0
    skips_empty = False     # whether items without labels have loss 0, instead of that of the path of blanks

    def reshape(self, bottom, top):
        self.steps, self.items, self.classes = steps_items_classes(self, bottom[0])
        top[0].reshape()

    def targets(self, *bottoms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Labels (N, L), from the front, the number of labels (N,), and the number of time steps (N,)."""
        labels = bottoms[0].flatten(1)
        return *to_front(labels, labels != self.blank), labels.new_full(labels.shape[:1], self.steps)

    def compute(self, *tensors: torch.Tensor):
        if not self.items:
            return tensors[0].sum()     # torch's loss needs at least one item
        labels, lengths, steps = self.targets(*(tensor.detach().long() for tensor in tensors[1:]))
        counts = torch.arange(labels.shape[1], device=labels.device) < lengths[:, None]
        labels = labels.where(counts, 0)
        self.check_labels(labels, self.classes)
        losses = ctc_loss(tensors[0].flatten(2).log_softmax(2), labels.clamp(0, self.classes - 1), steps, lengths,
                          self.blank, reduction="none", zero_infinity=True)
        if self.skips_empty:
            losses = losses.where(lengths > 0, 0)
        total = losses.where(((labels >= 0) & (labels < self.classes)).all(1), math.nan).sum()
        mean = total.detach() / self.items
        return mean + (total - total.detach())      # the value of the mean, the gradient of the sum
