"""Base class of convolutions."""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ...kernels import winograd
from .. import device
from ..blob import Blob, checked_shape
from ..fillers import fill
from ..layer import Layer
from . import many_axes
from .windows import Window, read_window

_MOST_AXES_OF_PYTORCH = 3
_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


def channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in channels_last layout, in which convolutions run faster."""
    return tensor.contiguous(memory_format=_LAYOUTS.get(tensor.dim(), torch.contiguous_format))


class ConvolvingLayer(Layer):
    """Base of Convolution and Deconvolution, which differ only in direction.

    Axis `axis` (1) holds the channels, the axes after it are spatial, the axes before it are batch axes.
    All bottoms have the same shape and share the weights. Source: src/caffe/layers/base_conv_layer.cpp.
    """

    min_bottoms = 1
    min_tops = 1
    equal_bottoms_and_tops = True
    transposed = False
    _bottom_shapes: Sequence[tuple[int, ...]] = ()      # those that _top_shape belongs to
    backward_reads_tops = False

    def setup(self, bottom, top):
        param = self.param.convolution_param
        axes = len(bottom[0].shape)
        self.channel_axis = self.axis(param.axis, axes)
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
        shapes = [blob.shape for blob in bottom]
        if shapes != self._bottom_shapes:
            self._top_shape = self._output_shape(shapes)
            self._bottom_shapes = shapes
        for blob in top:
            blob.reshape(*self._top_shape)

    def _output_shape(self, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """Check the bottoms' shapes and return the shape of the tops; sets `lacking`."""
        shape, axis = shapes[0], self.channel_axis
        if len(shape) != axis + 1 + len(self.window.kernel) or shape[axis] != self.channels:
            self.fail(f"expected {axis + 1 + len(self.window.kernel)} axes with {self.channels} channels at "
                      f"axis {axis}, found shape {shape}")
        for other in shapes[1:]:
            if other != shape:
                self.fail(f"all bottoms must have one shape, found {shape} and {other}")
        size = self.window.transposed_size if self.transposed else self.window.output_size
        spatial = size(shape[axis + 1:])
        if min(spatial, default=1) < 1:
            self.fail(f"{self.window} does not fit a bottom of shape {shape}: the top would be {spatial}")
        self.lacking = (0,) if self.transposed else self.window.lacking(shape[axis + 1:])
        checked_shape([*shape[:axis + 1], *map(sum, zip(shape[axis + 1:], self.lacking, strict=False))])
        return *shape[:axis], self.num_output, *spatial

    def _folded(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor as (num, channels, *spatial), channels_last, in its factor type."""
        axis, tensor = self.channel_axis, device.as_factor(tensor)
        if axis != 1 or not self.window.kernel:
            tensor = tensor.reshape(math.prod(tensor.shape[:axis]), *self._with_an_axis(tensor.shape[axis:]))
        return channels_last(tensor)

    def _extended(self, tensor: torch.Tensor) -> torch.Tensor:
        """A folded bottom, zero-padded at the end if its only window is not complete."""
        if not any(self.lacking):
            return tensor
        return torch.nn.functional.pad(tensor, [pad for lacking in reversed(self.lacking) for pad in (0, lacking)])

    @staticmethod
    def _with_an_axis(shape: Sequence[int]) -> tuple[int, ...]:
        """(channels, *spatial), with a spatial axis of length 1 if there is none."""
        return (*shape, 1) if len(shape) == 1 else tuple(shape)

    def _weight(self) -> torch.Tensor:
        weight = self.blobs[0]
        if not self.window.kernel:
            return weight.factor()[..., None]
        return weight.factor(_LAYOUTS.get(weight.num_axes, torch.contiguous_format))

    def _geometry(self) -> tuple:
        window = self.window if self.window.kernel else Window((1,), (1,), (0,), (1,))
        return (window.stride, window.pad, window.dilation, self.transposed, (0,) * len(window.kernel),
                self.param.convolution_param.group)

    def _by_tiles(self, value: torch.Tensor) -> bool:
        """Whether to use Winograd's algorithm, which needs fewer multiplications."""
        window = self.window
        return (not self.transposed and window.kernel == (3, 3) and window.stride == window.dilation == (1, 1)
                and window.pad[0] == window.pad[1] and winograd.suits(value, self.blobs[0].tensor, window.pad[0]))

    def _convolved(self, value: torch.Tensor) -> torch.Tensor:
        bias = self.blobs[1] if len(self.blobs) > 1 else None
        if self._by_tiles(value):
            return winograd.convolve(value, self.blobs[0].tensor, bias and bias.tensor, self.window.pad[0])
        weight, added = self._weight(), bias and bias.factor()
        if len(self.window.kernel) > _MOST_AXES_OF_PYTORCH:
            return many_axes.convolution(value, weight, added, self.window, self.transposed,
                                         self.param.convolution_param.group)
        return torch.convolution(value, weight, added, *self._geometry())

    def _gradients(self, gradient: torch.Tensor, value: torch.Tensor, wanted: Sequence[bool]):
        """The gradients of value, weight and bias; those not wanted may be None."""
        if self._by_tiles(value):
            of_value, of_weight, of_bias = wanted
            pad, weight = self.window.pad[0], self.blobs[0].tensor
            return (winograd.input_gradient(gradient, weight, pad) if of_value else None,
                    winograd.weight_gradient(value, gradient, pad) if of_weight else None,
                    gradient.sum((0, 2, 3)) if of_bias else None)
        if len(self.window.kernel) > _MOST_AXES_OF_PYTORCH:
            return many_axes.convolution_backward(gradient, value, self._weight(), self.window, self.transposed,
                                                  self.param.convolution_param.group)
        return torch.ops.aten.convolution_backward(gradient, value, self._weight(), [self.num_output],
                                                   *self._geometry(), wanted)

    def forward(self, bottom, top):
        for source, target in zip(bottom, top, strict=True):
            found = self._convolved(self._extended(self._folded(source.stored)))
            target.tensor = found.reshape(target.shape) if found.shape != target.shape else found

    def backward(self, top, propagate_down, bottom):
        wanted = [*self.param_propagate_down, False][:2]
        for source, target, down in zip(bottom, top, propagate_down, strict=True):
            if not (down or any(wanted)):
                continue
            value = self._folded(source.stored)
            gradients = self._gradients(self._folded(target.stored_grad), self._extended(value), [down, *wanted])
            if down:
                inside = tuple(slice(length) for length in value.shape)
                source.grad = gradients[0][inside].reshape(source.shape)
            for index, want in enumerate(wanted):
                if want:
                    self.accumulate(index, gradients[index + 1], is_given=True)
