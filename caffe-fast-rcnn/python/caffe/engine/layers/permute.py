"""Permute: reorder axes."""
from __future__ import annotations

import torch

from ..layer import Layer, register


@register("Permute")
class Permute(Layer):
    """The bottom with its axes in another order: axis i of the top is axis order[i] of the bottom.

    bottoms  any shape
    tops     the bottom's dimensions in the new order
    param    permute_param: order; axes that it does not name follow in their old order

    If the order does not change, values and gradient are shared with the bottom.
    Source: src/caffe/layers/permute_layer.cpp of SSD.
    """

    exact_bottoms = exact_tops = 1
    backward_reads_bottoms = backward_reads_tops = False

    def new_order(self, shape: tuple[int, ...]) -> list[int]:
        """For each axis of the top, that of the bottom. Raises LayerError."""
        order = list(self.param.permute_param.order)
        if len(set(order)) != len(order) or any(axis >= len(shape) for axis in order):
            self.fail(f"order must name axes of the bottom, each once: found {order} for a bottom of shape {shape}")
        return [*order, *(axis for axis in range(len(shape)) if axis not in order)]

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
