"""Slice."""
from __future__ import annotations

import torch

from ..layer import Layer, register


@register("Slice")
class Slice(Layer):
    """The bottom split into the tops along slice_param.axis (1), at each slice_point or into equal parts.

    bottoms  one
    tops     one or more; a single top shares the bottom's values and gradient

    `slice_dim` is the old name of axis. Source: src/caffe/layers/slice_layer.cpp.
    """

    exact_bottoms = 1
    min_tops = 1
    backward_reads_bottoms = backward_reads_tops = False

    def setup(self, bottom, top):
        param = self.param.slice_param
        if param.HasField("axis") and param.HasField("slice_dim"):
            self.fail("give either axis or its old name slice_dim, not both")

    def reshape(self, bottom, top):
        param, shape = self.param.slice_param, bottom[0].shape
        axis = self.slice_axis = self.axis(param.slice_dim if param.HasField("slice_dim") else param.axis, len(shape))
        self.sizes = self._sizes(shape[axis], len(top))
        for blob, size in zip(top, self.sizes, strict=True):
            blob.reshape(*shape[:axis], size, *shape[axis + 1:])
        if len(top) == 1:
            top[0].share_data(bottom[0])
            top[0].share_diff(bottom[0])

    def _sizes(self, length: int, num_tops: int) -> list[int]:
        points = list(self.param.slice_param.slice_point)
        if not points:
            if length % num_tops:
                self.fail(f"cannot cut axis {self.slice_axis} of length {length} into {num_tops} equal parts")
            return [length // num_tops] * num_tops
        if len(points) != num_tops - 1:
            self.fail(f"{num_tops} tops need {num_tops - 1} slice_points, found {points}")
        cuts = [0, *points, length]
        sizes = [high - low for low, high in zip(cuts, cuts[1:], strict=False)]
        if min(sizes) < 1:
            self.fail(f"slice_points must increase and stay inside axis {self.slice_axis} of length {length}, "
                      f"found {points}")
        return sizes

    def forward(self, bottom, top):
        if len(top) > 1:
            for blob, part in zip(top, bottom[0].tensor.split(self.sizes, self.slice_axis), strict=True):
                blob.tensor = part.clone()      # with a view, writes to a top would change the bottom

    def backward(self, top, propagate_down, bottom):
        if len(top) > 1 and propagate_down[0]:
            bottom[0].grad = torch.cat([blob.grad for blob in top], self.slice_axis)
