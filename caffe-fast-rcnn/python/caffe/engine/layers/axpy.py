"""Axpy: add a blob scaled per channel to another."""
from __future__ import annotations

from ..layer import Layer, register


@register("Axpy")
class Axpy(Layer):
    """Scale-and-add: top = a x + y, with one factor a per item and channel

    bottoms  a: (N, C), or (N, C, 1, 1); x: (N, C, ...); y: same shape as x
    tops     same shape as x

    Adds a branch, weighted by its channel gates, to the shortcut: Hu et al., "Squeeze-and-Excitation Networks", 2017.
    Source: src/caffe/layers/axpy_layer.cpp of SENet.
    """

    exact_bottoms = 3
    exact_tops = 1
    backward_reads_tops = False

    def reshape(self, bottom, top):
        factors, shape, added = (blob.shape for blob in bottom)
        if len(shape) < 2 or factors[:2] != shape[:2] or any(dim != 1 for dim in factors[2:]):
            self.fail(f"expected x of shape (N, C, ...) and factors of shape (N, C) or (N, C, 1, 1), "
                      f"found {shape} and {factors}")
        if added != shape:
            self.fail(f"x and y must have one shape, found {shape} and {added}")
        top[0].reshape(*shape)

    @staticmethod
    def _spread(factors, value):
        """The factors, reshaped to broadcast over x."""
        return factors.reshape(*value.shape[:2], *(1,) * (value.dim() - 2))

    def forward(self, bottom, top):
        factors, value, added = (blob.tensor for blob in bottom)
        top[0].tensor = added + self._spread(factors, value) * value

    def backward(self, top, propagate_down, bottom):
        gradient, value = top[0].grad, bottom[1].tensor
        if propagate_down[0]:
            bottom[0].grad = (gradient * value)[..., None].flatten(2).sum(2).reshape(bottom[0].shape)
        if propagate_down[1]:
            bottom[1].grad = gradient * self._spread(bottom[0].tensor, value)
        if propagate_down[2]:
            bottom[2].grad = gradient
