"""Pooling over the last two axes by Caffe's rules for sizes, borders and ties, as functions of tensors.

Caffe rounds the number of windows up, and with padding drops a last window that starts beyond the image. Where
PyTorch's rules give the same windows, its kernels are used; otherwise the image is padded explicitly.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from ..blob import checked_shape

_LOWEST = torch.finfo(torch.float32).min      # -FLT_MAX, Caffe's maximum of a window without pixels


@dataclass(frozen=True)
class Pool:
    """Pooling windows: kernel, stride and pad as (height, width); `ceil` rounds their number up."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    ceil: bool = True

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """The number of windows along both axes (src/caffe/layers/pooling_layer.cpp, Reshape)."""
        return self._axis_size(0, height, any(self.pad)), self._axis_size(1, width, any(self.pad))

    def _axis_size(self, axis: int, size: int, clip: bool) -> int:
        steps = (size + 2 * self.pad[axis] - self.kernel[axis]) / self.stride[axis]
        count = (math.ceil(steps) if self.ceil else math.floor(steps)) + 1
        if clip and (count - 1) * self.stride[axis] >= size + self.pad[axis]:
            count -= 1
        return count

    def is_native(self, height: int, width: int) -> bool:
        """Whether PyTorch uses the same windows: it always clips, and pads by at most half a kernel."""
        clipped = self._axis_size(0, height, True), self._axis_size(1, width, True)
        return (clipped == self.output_size(height, width)
                and all(2 * pad <= kernel for pad, kernel in zip(self.pad, self.kernel, strict=True)))

    def covered(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns from the start of the first window to the end of the last."""
        rows, columns = self.output_size(height, width)
        return (rows - 1) * self.stride[0] + self.kernel[0], (columns - 1) * self.stride[1] + self.kernel[1]

    def padded(self, image: torch.Tensor, value: float) -> torch.Tensor:
        """The image, cropped or padded to exactly the pixels that the windows cover. Raises BlobError."""
        lengths = checked_shape((*image.shape[:2], *self.covered(*image.shape[2:])))[2:]
        after = [lengths[i] - image.shape[2 + i] - self.pad[i] for i in (0, 1)]
        return functional.pad(image, (self.pad[1], after[1], self.pad[0], after[0]), value=value)


def max_pool(image: torch.Tensor, pool: Pool) -> tuple[torch.Tensor, torch.Tensor]:
    """The maximum of each window, and its position y * width + x as int64.

    Ties go to the first in row-major order. A window without pixels has -FLT_MAX at position -1.
    """
    height, width = image.shape[2:]
    if pool.is_native(height, width):
        return functional.max_pool2d_with_indices(image, pool.kernel, pool.stride, pool.pad, ceil_mode=pool.ceil)
    padded = pool.padded(image, max(_LOWEST, torch.finfo(image.dtype).min))
    values, places = functional.max_pool2d_with_indices(padded, pool.kernel, pool.stride)
    y = places // padded.shape[3] - pool.pad[0]
    x = places % padded.shape[3] - pool.pad[1]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    return values, (y * width + x).where(inside, -1)


def max_pool_backward(gradient: torch.Tensor, image: torch.Tensor, places: torch.Tensor, pool: Pool) -> torch.Tensor:
    """The gradient of each window, at the pixel of its maximum."""
    if pool.is_native(*image.shape[2:]):
        return torch.ops.aten.max_pool2d_with_indices_backward(
            gradient, image, pool.kernel, pool.stride, pool.pad, (1, 1), pool.ceil, places)
    return scatter(gradient, places, image.shape)


def scatter(gradient: torch.Tensor, places: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Add each value of `gradient` at its position y * width + x of an image; values at position -1 are dropped."""
    flat = gradient.new_zeros(*shape[:2], shape[2] * shape[3])
    values = gradient.where(places >= 0, 0).flatten(2)
    return flat.scatter_add_(2, places.clamp(min=0).flatten(2), values).reshape(shape)


def average_pool(image: torch.Tensor, pool: Pool) -> torch.Tensor:
    """The sum of each window over its area within the image and `pad`."""
    if pool.is_native(*image.shape[2:]):
        return functional.avg_pool2d(image, pool.kernel, pool.stride, pool.pad, ceil_mode=pool.ceil)
    sums = functional.avg_pool2d(pool.padded(image, 0.0), pool.kernel, pool.stride, divisor_override=1)
    lengths = [_window_lengths(image, pool, axis) for axis in (0, 1)]
    return sums / torch.outer(*lengths)


def _window_lengths(image: torch.Tensor, pool: Pool, axis: int) -> torch.Tensor:
    size = image.shape[2 + axis]
    count = pool.output_size(*image.shape[2:])[axis]
    start = torch.arange(count, device=image.device, dtype=image.dtype) * pool.stride[axis] - pool.pad[axis]
    return (start + pool.kernel[axis]).clamp(max=size + pool.pad[axis]) - start


def _windows(image: torch.Tensor, pool: Pool) -> torch.Tensor:
    """The pixels of each window, row-major, 0 beyond the image: (N, C, rows, columns, taps)."""
    padded = pool.padded(image, 0.0)
    return padded.unfold(2, pool.kernel[0], pool.stride[0]).unfold(3, pool.kernel[1], pool.stride[1]).flatten(4)


def stochastic_pool_mean(image: torch.Tensor, pool: Pool) -> torch.Tensor:
    """The expectation of stochastic pooling: sum x^2 / sum x of each window, 0 if the sum is not positive."""
    windows = _windows(image, pool)
    total = windows.sum(-1)
    return (windows.square().sum(-1) / total).where(total > 0, 0)


def stochastic_pool(image: torch.Tensor, pool: Pool, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """One value of each window, sampled with probability proportional to the value, and its position y * width + x."""
    windows = _windows(image, pool)
    sums = windows.cumsum(-1)
    level = torch.rand(sums.shape[:-1], generator=generator, device=image.device, dtype=image.dtype) * sums[..., -1]
    tap = (sums < level[..., None]).sum(-1).clamp(max=windows.shape[-1] - 1)
    rows = torch.arange(tap.shape[2], device=image.device)[:, None] * pool.stride[0]
    columns = torch.arange(tap.shape[3], device=image.device) * pool.stride[1]
    places = (rows + tap // pool.kernel[1]) * image.shape[3] + columns + tap % pool.kernel[1]
    return windows.gather(-1, tap[..., None])[..., 0], places
