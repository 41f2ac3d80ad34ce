"""Operands broadcast over the axes of a larger blob from a given axis on, as in Scale and Bias."""
from __future__ import annotations

import torch

from ..blob import Blob
from ..layer import Layer


def operand_shape(layer: Layer, bottom: Blob, axis: int, num_axes: int) -> tuple[int, ...]:
    """The shape of a learned operand: `num_axes` of the bottom's dimensions from `axis` on, -1 for all. LayerError."""
    if num_axes < -1:
        layer.fail(f"num_axes must be -1 or more, found {num_axes}")
    if num_axes == 0:
        return ()
    start = layer.axis(axis, len(bottom.shape))
    stop = len(bottom.shape) if num_axes == -1 else start + num_axes
    if stop > len(bottom.shape):
        layer.fail(f"axis {axis} and num_axes {num_axes} exceed a bottom of shape {bottom.shape}")
    return bottom.shape[start:stop]


def operand_of(layer: Layer, bottom: list[Blob]) -> Blob:
    """The operand: the second bottom if there is one, else the first parameter."""
    return bottom[1] if len(bottom) > 1 else layer.blobs[0]


def operand_axis(layer: Layer, bottom: Blob, operand: Blob, axis: int) -> int:
    """The bottom's axis where the operand begins. Raises LayerError if their dimensions differ from there on."""
    if not operand.shape:
        return 0
    start = layer.axis(axis, len(bottom.shape))
    if bottom.shape[start:start + len(operand.shape)] != operand.shape:
        layer.fail(f"an operand of shape {operand.shape} does not fit a bottom of shape {bottom.shape} "
                   f"from axis {start} on")
    return start


def spread(operand: torch.Tensor, axis: int, num_axes: int) -> torch.Tensor:
    """The operand reshaped with axes of length 1, so that it broadcasts over a tensor of `num_axes` axes."""
    return operand.reshape((1,) * axis + operand.shape + (1,) * (num_axes - axis - operand.dim()))


def gather_sum(gradient: torch.Tensor, axis: int, shape: tuple[int, ...]) -> torch.Tensor:
    """The gradient of the operand: the sum over all axes along which it was broadcast."""
    others = [i for i in range(gradient.dim()) if not axis <= i < axis + len(shape)]
    return gradient.sum(others) if others else gradient
