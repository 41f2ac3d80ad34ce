"""Base class of layers that reorder axes."""
from __future__ import annotations

import torch

from ..layer import Layer


class ReorderingLayer(Layer):
    """The bottom with its axes reordered; subclasses define `new_order`.

    If the order is unchanged, the top shares the bottom's values and gradient.
    """

    exact_bottoms = exact_tops = 1
    backward_reads_bottoms = backward_reads_tops = False

    def new_order(self, shape: tuple[int, ...]) -> list[int]:
        """For a bottom of this shape, the bottom's axis for each axis of the top. Raises LayerError."""
        raise NotImplementedError(f"{type(self).__name__} has no new_order")

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        self.order = self.new_order(shape)
        top[0].reshape(*(shape[axis] for axis in self.order))
        self.keeps = self.order == sorted(self.order)
        if self.keeps:
            top[0].share_data(bottom[0])
            top[0].share_diff(bottom[0])

    def forward(self, bottom, top):
        if not self.keeps:
            top[0].tensor = bottom[0].tensor.permute(self.order).clone(memory_format=torch.contiguous_format)

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0] and not self.keeps:
            back = [self.order.index(axis) for axis in range(len(self.order))]
            bottom[0].grad = top[0].grad.permute(back).clone(memory_format=torch.contiguous_format)
