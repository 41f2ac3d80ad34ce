"""Sliding windows of convolutions: their settings, and the values in each window."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..blob import checked_shape
from ..layer import Layer


@dataclass(frozen=True)
class Window:
    """A window over spatial axes; every field has one number per axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]

    def extent(self, axis: int) -> int:
        """Pixels from the first to the last tap, inclusive."""
        return self.dilation[axis] * (self.kernel[axis] - 1) + 1

    def output_size(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """(size + 2 pad - extent) / stride + 1 for each axis; the quotient is truncated, as in C++.

        An axis that is short by less than a stride therefore has one window, extended by zeros.
        """
        return tuple(int((size + 2 * self.pad[i] - self.extent(i)) / self.stride[i]) + 1
                     for i, size in enumerate(sizes))

    def lacking(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """The number of pixels missing at the end of each axis for its only window."""
        return tuple(max(0, self.extent(i) - size - 2 * self.pad[i]) for i, size in enumerate(sizes))

    def transposed_size(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """stride (size - 1) + extent - 2 pad for each axis: the inverse of `output_size`."""
        return tuple(self.stride[i] * (size - 1) + self.extent(i) - 2 * self.pad[i] for i, size in enumerate(sizes))


def read_window(layer: Layer, num_axes: int) -> Window:
    """The window of the layer's convolution_param over `num_axes` spatial axes. Raises LayerError."""
    param = layer.param.convolution_param
    kernel = _numbers(layer, "kernel", param.kernel_size, num_axes, 0)
    stride = _numbers(layer, "stride", param.stride, num_axes, 1)
    pad = _numbers(layer, "pad", param.pad, num_axes, 0)
    dilation = _numbers(layer, "dilation", param.dilation, num_axes, 1)
    for name, values in (("kernel_size", kernel), ("stride", stride), ("dilation", dilation)):
        if min(values, default=1) < 1:
            layer.fail(f"{name} must be given and at least 1, found {list(values)}")
    return Window(kernel, stride, pad, dilation)


def _numbers(layer: Layer, name: str, repeated: Sequence[int], num_axes: int, default: int) -> tuple[int, ...]:
    param = layer.param.convolution_param
    fields = (f"{name}_h", f"{name}_w")
    if name != "dilation" and any(param.HasField(field) for field in fields):
        if num_axes != 2 or repeated:
            layer.fail(f"{fields[0]} and {fields[1]} are for two spatial axes and cannot be combined with {name}"
                       f"{'_size' if name == 'kernel' else ''}; found {num_axes} axes and {list(repeated)}")
        return tuple(getattr(param, field) for field in fields)
    if len(repeated) not in (0, 1, num_axes):
        layer.fail(f"{name}: expected one number, or one for each of {num_axes} axes, found {list(repeated)}")
    values = tuple(repeated) or (default,)
    return values * num_axes if len(values) == 1 else values


def windows_of(value: torch.Tensor, window: Window, first: int) -> torch.Tensor:
    """A view of the taps of every window: the spatial axes, from `first` on, become (*output size, *kernel).

    Raises BlobError if the padded bottom is too large.
    """
    count = len(window.kernel)
    lacking = window.lacking(value.shape[first:])
    checked_shape((*value.shape[:first], *(size + 2 * pad + more for size, pad, more in zip(
        value.shape[first:], window.pad, lacking, strict=False))))
    value = torch.nn.functional.pad(value, [pad for i in reversed(range(count))
                                            for pad in (window.pad[i], window.pad[i] + lacking[i])])
    for index in range(count):
        taps = value.unfold(first + index, window.extent(index), window.stride[index])
        value = taps[..., ::window.dilation[index]]
    return value
