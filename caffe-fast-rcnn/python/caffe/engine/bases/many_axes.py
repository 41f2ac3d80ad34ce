"""Convolutions over more than three spatial axes, which PyTorch does not support, as functions of tensors.

Layouts: values (N, C, *spatial); weights (outputs, inputs / groups, *kernel), for transposed convolutions with inputs
and outputs swapped; bias (outputs).
"""
from __future__ import annotations

import torch

from .windows import Window, windows_of


def convolution(value: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, window: Window,
                transposed: bool, groups: int) -> torch.Tensor:
    """The top of a Convolution, or of a Deconvolution if `transposed`."""
    if transposed:
        shape = (len(value), weight.shape[1] * groups, *window.transposed_size(value.shape[2:]))
        backward = torch.func.vjp(lambda image: _product(image, weight, window, groups), value.new_zeros(shape))[1]
        found = backward(value)[0]
    else:
        found = _product(value, weight, window, groups)
    return found if bias is None else found + bias.reshape(-1, *(1,) * len(window.kernel))


def _product(value: torch.Tensor, weight: torch.Tensor, window: Window, groups: int) -> torch.Tensor:
    taps = windows_of(value, window, first=2)
    size = taps.shape[2:2 + len(window.kernel)]
    num, channels = value.shape[:2]
    columns = taps.reshape(num, groups, channels // groups, size.numel(), -1)
    rows = weight.reshape(groups, len(weight) // groups, channels // groups, -1)
    return torch.einsum("ngcpt,goct->ngop", columns, rows).reshape(num, len(weight), *size)


def convolution_backward(gradient: torch.Tensor, value: torch.Tensor, weight: torch.Tensor, window: Window,
                         transposed: bool, groups: int) -> tuple[torch.Tensor, ...]:
    """The gradients of value, weight and bias."""
    bias = gradient.new_zeros(gradient.shape[1])
    return torch.func.vjp(lambda x, w, b: convolution(x, w, b, window, transposed, groups),
                          value, weight, bias)[1](gradient)
