"""Connectionist temporal classification: the probability of labels without their places in time, and its loss."""
from __future__ import annotations

import math

import torch
from torch.nn.functional import ctc_loss

from ..blob import Blob
from ..layer import AutogradLayer, Layer
from .losses import LossLayer


def steps_items_classes(layer: Layer, scores: Blob) -> tuple[int, int, int]:
    """The dimensions of scores (T, N, C), behind which axes of length 1 may follow. Raises LayerError."""
    shape = scores.shape
    if len(shape) < 3 or any(dim != 1 for dim in shape[3:]) or 0 in (shape[0], shape[2]):
        layer.fail(f"expected scores of shape (T, N, C), with time steps first, found {shape}")
    return shape[0], shape[1], shape[2]


def checked_blank(layer: Layer, index: int, classes: int, name: str) -> int:
    """The class that stands between labels: `index`, or the last one where it is negative. Raises LayerError."""
    if index >= classes:
        layer.fail(f"{name} {index} is none of the classes 0..{classes - 1}")
    return index if index >= 0 else classes - 1


def check_table(layer: Layer, blob: Blob, what: str, shape: tuple[int | None, int | None]) -> None:
    """Raise LayerError unless the blob has this shape; None stands for any length, and axes of length 1 may follow."""
    found = blob.shape
    if len(found) < 2 or any(dim != 1 for dim in found[2:]) or any(
            want not in (None, dim) for want, dim in zip(shape, found, strict=False)):
        layer.fail(f"expected {what} of shape ({', '.join('L' if want is None else str(want) for want in shape)}), "
                   f"found {found}")


def to_front(values: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The values (N, L) with those that are kept first, in their order, and the number of them, (N,)."""
    order = kept.logical_not().byte().argsort(dim=1, stable=True)
    return values.gather(1, order), kept.sum(1)


def labels_of_paths(path: torch.Tensor, blank: int, merge: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """The labels of paths (N, T), first in each row, and the number of them, (N,): without blanks and repetitions."""
    kept = path != blank
    if merge:
        kept[:, 1:] &= path[:, 1:] != path[:, :-1]
    return to_front(path, kept)


class CTCLossLayer(LossLayer, AutogradLayer):
    """loss = mean over items of -log(sum over all paths of the labels of the product of softmax(scores))

    A path has a class for each time step: the labels, repeated or not, with blanks anywhere between them, and at least
    one between equal ones. The loss of labels that are too long for any path is 0. The gradient is that of the sum over
    items, not of the mean, as in all sources: learning rates of published solvers are made for it.

    Subclasses set `blank` in `reshape` and may have other targets than labels (N, L) without their blanks.
    Graves et al., "Connectionist temporal classification", 2006.
    """

    blank = 0
    skips_empty = False     # items without labels have no loss; otherwise that of a path of blanks

    def reshape(self, bottom, top):
        self.steps, self.items, self.classes = steps_items_classes(self, bottom[0])
        top[0].reshape()

    def targets(self, *bottoms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Labels (N, L) from the front, how many of them count (N,), and the number of time steps (N,)."""
        labels = bottoms[0].flatten(1)
        return *to_front(labels, labels != self.blank), labels.new_full(labels.shape[:1], self.steps)

    def compute(self, *tensors: torch.Tensor):
        if not self.items:
            return tensors[0].sum()     # torch's loss wants an item
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
