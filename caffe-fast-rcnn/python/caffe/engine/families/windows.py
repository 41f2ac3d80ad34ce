"""Sliding windows: sizes of kernels, strides and paddings as prototxts give them; a base class for convolutions."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .. import device
from ..blob import Blob
from ..fillers import fill
from ..layer import Layer

_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


def channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor with its channels innermost in memory: convolutions run faster on it. Values and shape stay."""
    return tensor.contiguous(memory_format=_LAYOUTS.get(tensor.dim(), torch.contiguous_format))


@dataclass(frozen=True)
class Window:
    """A window over spatial axes; every field has one number for each axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]

    def extent(self, axis: int) -> int:
        """Pixels from the first to the last tap, both included."""
        return self.dilation[axis] * (self.kernel[axis] - 1) + 1

    def output_size(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """floor((size + 2 pad - extent) / stride) + 1 for each axis."""
        return tuple((size + 2 * self.pad[i] - self.extent(i)) // self.stride[i] + 1 for i, size in enumerate(sizes))

    def transposed_size(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """stride (size - 1) + extent - 2 pad for each axis: the size whose windows give `sizes`."""
        return tuple(self.stride[i] * (size - 1) + self.extent(i) - 2 * self.pad[i] for i, size in enumerate(sizes))


def read_window(layer: Layer, num_axes: int) -> Window:
    """The window of a ConvolutionParameter over `num_axes` spatial axes. Raises LayerError."""
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
            layer.fail(f"{fields[0]} and {fields[1]} are for two spatial axes and exclude {name}"
                       f"{'_size' if name == 'kernel' else ''}; found {num_axes} axes and {list(repeated)}")
        return tuple(getattr(param, field) for field in fields)
    if len(repeated) not in (0, 1, num_axes):
        layer.fail(f"{name}: expected one number, or one for each of {num_axes} axes, found {list(repeated)}")
    values = tuple(repeated) or (default,)
    return values * num_axes if len(values) == 1 else values


class ConvolvingLayer(Layer):
    """What Convolution and Deconvolution share: all but the direction.

    Axis `axis` (1) holds the channels, the up to three axes after it are spatial, those before it are independent
    inputs. All bottoms have one shape and share the weights. Source: src/caffe/layers/base_conv_layer.cpp.
    """

    min_bottoms = 1
    min_tops = 1
    equal_bottoms_and_tops = True
    transposed = False

    def setup(self, bottom, top):
        param = self.param.convolution_param
        axes = len(bottom[0].shape)
        self.channel_axis = self.axis(param.axis, axes)
        if axes - self.channel_axis - 1 > 3:
            self.fail(f"needs at most 3 axes after the channel axis {self.channel_axis}, found shape {bottom[0].shape}")
        self.window = read_window(self, axes - self.channel_axis - 1)
        self.channels, self.num_output = bottom[0].shape[self.channel_axis], param.num_output
        if min(self.num_output, param.group) < 1:
            self.fail(f"num_output and group must be at least 1, found {self.num_output} and {param.group}")
        if self.channels % param.group or self.num_output % param.group:
            self.fail(f"group {param.group} must divide the {self.channels} channels and the num_output "
                      f"{self.num_output}")
        rows, columns = self.num_output, self.channels
        if self.transposed:
            rows, columns = columns, rows
        self.blobs.append(Blob(rows, columns // param.group, *self.window.kernel))
        fill(self.blobs[0], param.weight_filler)
        if param.bias_term:
            self.blobs.append(Blob(self.num_output))
            fill(self.blobs[1], param.bias_filler)

    def reshape(self, bottom, top):
        shape, axis = bottom[0].shape, self.channel_axis
        if len(shape) != axis + 1 + len(self.window.kernel) or shape[axis] != self.channels:
            self.fail(f"expected {axis + 1 + len(self.window.kernel)} axes with {self.channels} channels at "
                      f"axis {axis}, found shape {shape}")
        for other in bottom[1:]:
            if other.shape != shape:
                self.fail(f"all bottoms must have one shape, found {shape} and {other.shape}")
        size = self.window.transposed_size if self.transposed else self.window.output_size
        spatial = size(shape[axis + 1:])
        if min(spatial, default=1) < 1:
            self.fail(f"{self.window} does not fit a bottom of shape {shape}: the top would be {spatial}")
        for blob in top:
            blob.reshape(*shape[:axis], self.num_output, *spatial)

    def _folded(self, tensor: torch.Tensor) -> torch.Tensor:
        """(num, channels, *spatial), channels_last, in its factor type."""
        axis, tensor = self.channel_axis, device.as_factor(tensor)
        if axis != 1 or not self.window.kernel:
            tensor = tensor.reshape(math.prod(tensor.shape[:axis]), *self._with_an_axis(tensor.shape[axis:]))
        return channels_last(tensor)

    @staticmethod
    def _with_an_axis(shape: Sequence[int]) -> tuple[int, ...]:
        """(channels, *spatial), with a spatial axis of length 1 where there is none."""
        return (*shape, 1) if len(shape) == 1 else tuple(shape)

    def _weight(self) -> torch.Tensor:
        weight = self.blobs[0].factor
        return channels_last(weight if self.window.kernel else weight[..., None])

    def _geometry(self) -> tuple:
        window = self.window if self.window.kernel else Window((1,), (1,), (0,), (1,))
        return (window.stride, window.pad, window.dilation, self.transposed, (0,) * len(window.kernel),
                self.param.convolution_param.group)

    def forward(self, bottom, top):
        weight = self._weight()
        bias = self.blobs[1].factor if len(self.blobs) > 1 else None
        for source, target in zip(bottom, top, strict=True):
            found = torch.convolution(self._folded(source.stored), weight, bias, *self._geometry())
            target.tensor = found.reshape(target.shape) if found.shape != target.shape else found

    def backward(self, top, propagate_down, bottom):
        weight = self._weight()
        wanted = [*self.param_propagate_down, False][:2]
        for source, target, down in zip(bottom, top, propagate_down, strict=True):
            if not (down or any(wanted)):
                continue
            gradients = torch.ops.aten.convolution_backward(
                self._folded(target.stored_grad), self._folded(source.stored), weight, [self.num_output],
                *self._geometry(), [down, *wanted])
            if down:
                source.grad = gradients[0].reshape(source.shape)
            for index, want in enumerate(wanted):
                if want:
                    self.accumulate(index, gradients[index + 1])
