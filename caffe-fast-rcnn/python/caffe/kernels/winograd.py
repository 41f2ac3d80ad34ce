"""Convolutions with 3 x 3 kernels and stride 1 by Winograd's F(2x2, 3x3): 16 products instead of 36.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016. For the CPU, in channels_last
layout, for float32 or bfloat16 images. Weights are float32.

In float32, rounding errors are about as large as with direct sums. In bfloat16, the transformed factors are rounded,
and sums are float32.
"""
from __future__ import annotations

import functools
import threading

import numpy as np
import torch

from . import _cpu

CHANNEL_STEP = 32       # channels and outputs must be multiples of it
_LANES = 16 if _cpu.winograd_lanes(16) else 8       # floats in a vector
_WORTH_TILES = 16       # of 2 x 2 pixels per image; with fewer, transforming the filters costs more than it saves
_MOST_FILTERS = 1 << 20     # each takes 16 floats


class _Scratch(threading.local):
    """Scratch memory that a thread reuses between calls; the system would clear newly allocated memory each time."""

    floats = torch.empty(0)

    def of_size(self, count: int) -> np.ndarray:
        if self.floats.numel() < count:
            self.floats = torch.empty(count)
        return self.floats.numpy()


_scratch = _Scratch()


@functools.cache
def _types() -> tuple[torch.dtype, ...]:
    """The pixel types that this machine's vector units support."""
    if not _cpu.winograd_lanes(_LANES):
        return ()
    return (torch.float32, torch.bfloat16) if _cpu.winograd_bfloat16() else (torch.float32,)


def suits(x: torch.Tensor, weight: torch.Tensor, pad: int) -> bool:
    """Whether the functions below support these inputs and are faster.

    x (N, C, H, W), weight (K, C, 3, 3), pad zeros around x. Does not depend on N (above 0), so an
    image gives the same bits in any batch.
    """
    num, channels, height, width = x.shape
    tiles = -(-(height + 2 * pad - 2) // 2) * -(-(width + 2 * pad - 2) // 2)
    return (x.device.type == "cpu" and x.dtype in _types() and weight.dtype == torch.float32 and 0 <= pad <= 2
            and weight.shape == (weight.shape[0], channels, 3, 3)
            and channels % CHANNEL_STEP == weight.shape[0] % CHANNEL_STEP == 0
            and weight.shape[0] * channels <= _MOST_FILTERS
            and num > 0 and height + 2 * pad > 2 and width + 2 * pad > 2 and tiles >= _WORTH_TILES)


def convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, pad: int) -> torch.Tensor:
    """The convolution of x (N, C, H, W) with weight (K, C, 3, 3): (N, K, H + 2 pad - 2, W + 2 pad - 2), like x.

    bias (K), float32, or None. The result is channels_last.
    """
    return _convolve(x, weight, False, bias, pad)


def input_gradient(dy: torch.Tensor, weight: torch.Tensor, pad: int) -> torch.Tensor:
    """Gradient of `convolve` with respect to x, for dy (N, K, ...): (N, C, H, W) like dy, channels_last."""
    return _convolve(dy, weight, True, None, 2 - pad)


def weight_gradient(x: torch.Tensor, dy: torch.Tensor, pad: int) -> torch.Tensor:
    """Gradient of `convolve` with respect to weight, (K, C, 3, 3), float32."""
    shape = _shape(x, dy.shape[1], pad)
    gradient = torch.empty(dy.shape[1], x.shape[1], 3, 3)
    _cpu.winograd_filter_gradient(shape, _pixels(x), _pixels(dy), _LANES, torch.get_num_threads(),
                                  _scratch.of_size(_cpu.winograd_gradient_floats(shape)), gradient.numpy())
    return gradient


def _convolve(x: torch.Tensor, weight: torch.Tensor, transposed: bool, bias: torch.Tensor | None, pad: int):
    outputs, threads = weight.shape[1 if transposed else 0], torch.get_num_threads()
    shape = _shape(x, outputs, pad)
    y = torch.empty((len(x), outputs, x.shape[2] + 2 * pad - 2, x.shape[3] + 2 * pad - 2), dtype=x.dtype,
                    memory_format=torch.channels_last)
    _cpu.winograd_convolve(shape, _pixels(x), weight.detach().contiguous().numpy(), transposed,
                           None if bias is None else bias.detach().contiguous().numpy(), _LANES, threads,
                           _scratch.of_size(_cpu.winograd_forward_floats(shape, threads)), _pixels(y))
    return y


def _shape(x: torch.Tensor, outputs: int, pad: int) -> tuple[int, ...]:
    num, channels, height, width = x.shape
    return num, height, width, channels, outputs, pad


def _pixels(x: torch.Tensor) -> np.ndarray:
    """x as an array (N, H, W, C), without a copy if it is channels_last; bfloat16, which NumPy lacks, as raw bits."""
    pixels = x.detach().permute(0, 2, 3, 1).contiguous()
    return (pixels.view(torch.uint16) if x.dtype == torch.bfloat16 else pixels).numpy()
