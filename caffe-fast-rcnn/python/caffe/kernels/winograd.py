"""Convolutions with 3 x 3 kernels and stride 1 by minimal filtering, F(2x2, 3x3): 16 products in place of 36.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016. Float32 on the CPU, in images whose
channels lie side by side (channels_last). The rounding errors are at most three times those of direct sums, often less.
"""
from __future__ import annotations

import threading

import torch

from . import _cpu

CHANNEL_STEP = 32       # channels and outputs must be multiples of it
_LANES = 16             # floats of the widest vectors
_WORTH_TILES = 16       # of 2 x 2 pixels in an image; with fewer the filters take longer than they save


class _Scratch(threading.local):
    """Memory that calls of one thread use one after the other: it would be cleared by the system for each of them."""

    floats = torch.empty(0)

    def of_size(self, count: int) -> torch.Tensor:
        if self.floats.numel() < count:
            self.floats = torch.empty(count)
        return self.floats


_scratch = _Scratch()


def suits(x: torch.Tensor, weight: torch.Tensor, pad: int) -> bool:
    """Whether `convolve`, `input_gradient` and `weight_gradient` take these, and are faster than direct sums.

    x (N, C, H, W), weight (K, C, 3, 3), pad zeros around x. N does not count: an image gives the same bits in any batch.
    """
    _, channels, height, width = x.shape
    tiles = -(-(height + 2 * pad - 2) // 2) * -(-(width + 2 * pad - 2) // 2)
    return (x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and 0 <= pad <= 2
            and weight.shape == (weight.shape[0], channels, 3, 3)
            and channels % CHANNEL_STEP == weight.shape[0] % CHANNEL_STEP == 0
            and height + 2 * pad > 2 and width + 2 * pad > 2 and tiles >= _WORTH_TILES and _cpu.winograd_lanes(_LANES))


def convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, pad: int) -> torch.Tensor:
    """The convolution of x (N, C, H, W) with weight (K, C, 3, 3): (N, K, H + 2 pad - 2, W + 2 pad - 2), channels_last.

    bias (K), or None
    """
    return _convolve(x, weight, False, bias, pad)


def input_gradient(dy: torch.Tensor, weight: torch.Tensor, pad: int) -> torch.Tensor:
    """Gradient of `convolve` with respect to x, for dy (N, K, ...): (N, C, H, W), channels_last."""
    return _convolve(dy, weight, True, None, 2 - pad)


def weight_gradient(x: torch.Tensor, dy: torch.Tensor, pad: int) -> torch.Tensor:
    """Gradient of `convolve` with respect to weight, (K, C, 3, 3)."""
    bottom, top_diff = _pixels(x), _pixels(dy)
    gradient = torch.empty(dy.shape[1], x.shape[1], 3, 3)
    scratch = _scratch.of_size(_cpu.winograd_gradient_floats(bottom, dy.shape[1], pad))
    _cpu.winograd_filter_gradient(bottom, top_diff, pad, _LANES, torch.get_num_threads(), scratch.numpy(),
                                  gradient.numpy())
    return gradient


def _convolve(x: torch.Tensor, weight: torch.Tensor, transposed: bool, bias: torch.Tensor | None, pad: int):
    num, _, height, width = x.shape
    outputs, bottom, threads = weight.shape[1 if transposed else 0], _pixels(x), torch.get_num_threads()
    y = torch.empty((num, outputs, height + 2 * pad - 2, width + 2 * pad - 2), memory_format=torch.channels_last)
    scratch = _scratch.of_size(_cpu.winograd_forward_floats(bottom, outputs, pad, threads))
    _cpu.winograd_convolve(bottom, weight.detach().contiguous().numpy(), transposed,
                           None if bias is None else bias.detach().numpy(), pad, _LANES, threads, scratch.numpy(),
                           y.permute(0, 2, 3, 1).numpy())
    return y


def _pixels(x: torch.Tensor):
    return x.detach().permute(0, 2, 3, 1).contiguous().numpy()
