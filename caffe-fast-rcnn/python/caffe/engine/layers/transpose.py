"""Transpose: reorder all axes."""
from __future__ import annotations

from ..bases.reordering import ReorderingLayer
from ..layer import register


@register("Transpose")
class Transpose(ReorderingLayer):
    """The bottom with its axes reordered: axis i of the top is axis dim[i] of the bottom.

    bottoms  any shape
    tops     the bottom's dimensions in the new order
    param    transpose_param: dim, which names every axis

    Permute with another field. Source: src/caffe/layers/transpose_layer.cpp of caffe_ocr.
    """

    def new_order(self, shape):
        order = list(self.param.transpose_param.dim)
        if sorted(order) != list(range(len(shape))):
            self.fail(f"dim must name every axis of the bottom, each once: found {order} for a bottom of shape {shape}")
        return order
