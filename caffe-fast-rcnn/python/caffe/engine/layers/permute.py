"""Permute: reorder the axes."""
from __future__ import annotations

from ..bases.reordering import ReorderingLayer
from ..layer import register


@register("Permute")
class Permute(ReorderingLayer):
    """The bottom with its axes reordered: axis i of the top is axis order[i] of the bottom.

    bottoms  any shape
    tops     the bottom's dimensions in the new order
    param    permute_param: order; axes that are not named follow in their old order

    If the order is unchanged, the top shares the bottom's values and gradient.
    Source: src/caffe/layers/permute_layer.cpp of SSD.
    """

    def new_order(self, shape):
        order = list(self.param.permute_param.order)
        if len(set(order)) != len(order) or any(axis >= len(shape) for axis in order):
            self.fail(f"order must name axes of the bottom, each once: found {order} for a bottom of shape {shape}")
        return [*order, *(axis for axis in range(len(shape)) if axis not in order)]
