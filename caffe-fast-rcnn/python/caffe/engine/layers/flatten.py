"""Flatten."""
from __future__ import annotations

import math

from ..layer import Layer, register


@register("Flatten")
class Flatten(Layer):
    """The axes from flatten_param.axis (1) to end_axis (-1) merged into one; shares the bottom's values and gradient.

    Source: src/caffe/layers/flatten_layer.cpp.
    """

    exact_bottoms = exact_tops = 1
    backward_reads_bottoms = backward_reads_tops = False

    def reshape(self, bottom, top):
        param, shape = self.param.flatten_param, bottom[0].shape
        start, end = self.axis(param.axis, len(shape)), self.axis(param.end_axis, len(shape), "end_axis")
        if start > end:
            self.fail(f"axis {start} is after end_axis {end}")
        top[0].reshape(*shape[:start], math.prod(shape[start:end + 1]), *shape[end + 1:])
        top[0].share_data(bottom[0])
        top[0].share_diff(bottom[0])

    def forward(self, bottom, top):
        """Nothing to do: the values are shared."""

    def backward(self, top, propagate_down, bottom):
        """Nothing to do: the gradient is shared."""
