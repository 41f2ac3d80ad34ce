"""Reshape."""
from __future__ import annotations

import math

from ..layer import Layer, register


@register("Reshape")
class Reshape(Layer):
    """The bottom in another shape; shares the bottom's values and gradient.

    param  reshape_param.shape: the new dimensions; 0 copies the bottom's dimension, a single -1 is inferred from the
           number of values. They replace `num_axes` (-1: all remaining) axes from `axis` (0) on; a negative axis counts
           from the end, so that -1 appends axes

    Source: src/caffe/layers/reshape_layer.cpp.
    """

    exact_bottoms = exact_tops = 1
    backward_reads_bottoms = backward_reads_tops = False

    def reshape(self, bottom, top):
        top[0].reshape(*self._new_shape(bottom[0].shape))
        top[0].share_data(bottom[0])
        top[0].share_diff(bottom[0])

    def _new_shape(self, old: tuple[int, ...]) -> tuple[int, ...]:
        start, end = self._replaced(len(old))
        new = list(self.param.reshape_param.shape.dim)
        for index, dim in enumerate(new):
            if dim == 0:
                if start + index >= len(old):
                    self.fail(f"dim 0 at index {index} of {new} copies axis {start + index}, "
                              f"which a bottom of shape {old} does not have")
                new[index] = old[start + index]
        if sorted(new)[:2].count(-1) > 1 or min(new, default=1) < -1:
            self.fail(f"dimensions must be positive, 0, or -1 once, found {list(self.param.reshape_param.shape.dim)}")
        if -1 in new:
            new[new.index(-1)] = self._inferred(old, new, range(start, end))
        shape = [*old[:start], *new, *old[end:]]
        if math.prod(shape) != math.prod(old):
            self.fail(f"shape {shape} has {math.prod(shape)} values, the bottom of shape {old} has {math.prod(old)}")
        return tuple(shape)

    def _inferred(self, old: tuple[int, ...], new: list[int], replaced: range) -> int:
        """The dimension that is -1 in `new`. Copied axes cancel out, so that they may be those of an empty batch."""
        dims = self.param.reshape_param.shape.dim
        copied = [axis for axis, dim in zip(replaced, dims, strict=False) if dim == 0]
        known = math.prod(dim for axis, dim in enumerate(new, replaced.start) if dim != -1 and axis not in copied)
        count = math.prod(old[axis] for axis in replaced if axis not in copied)
        if known == 0 or count % known:
            shape = [*old[:replaced.start], *new, *old[replaced.stop:]]
            self.fail(f"cannot infer the dimension -1: {shape} does not divide the {math.prod(old)} values of {old}")
        return count // known

    def _replaced(self, num_axes: int) -> tuple[int, int]:
        """The range [first, last) of axes that are replaced."""
        param = self.param.reshape_param
        start = param.axis if param.axis >= 0 else num_axes + param.axis + 1
        end = num_axes if param.num_axes == -1 else start + param.num_axes
        if not 0 <= start <= end <= num_axes:
            self.fail(f"axis {param.axis} and num_axes {param.num_axes} exceed a bottom of {num_axes} axes")
        return start, end

    def forward(self, bottom, top):
        """Nothing to do: the values are shared."""

    def backward(self, top, propagate_down, bottom):
        """Nothing to do: the gradient is shared."""
