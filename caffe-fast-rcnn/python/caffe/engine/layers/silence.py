"""Silence."""
from __future__ import annotations

from ..layer import Layer, register


@register("Silence")
class Silence(Layer):
    """Consumes its bottoms, so that they are not outputs of the net; their gradient is zero.

    Source: src/caffe/layers/silence_layer.cpp.
    """

    min_bottoms = 1
    exact_tops = 0
    backward_reads_bottoms = backward_reads_tops = False

    def reshape(self, bottom, top):
        """No tops."""

    def forward(self, bottom, top):
        """No tops."""

    def backward(self, top, propagate_down, bottom):
        for blob, wanted in zip(bottom, propagate_down, strict=True):
            if wanted:
                blob.grad = blob.tensor.new_zeros(blob.shape)
