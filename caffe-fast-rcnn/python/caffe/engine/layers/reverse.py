"""Reverse: flip one axis."""
from __future__ import annotations

from ..layer import Layer, register


@register("Reverse")
class Reverse(Layer):
    """The bottom flipped along reverse_param.axis (0): top[..., i, ...] = bottom[..., L - 1 - i, ...] for length L.

    Placed before and after an Lstm, it makes the Lstm read a sequence from the end. Negative axes count from the last.
    Source: src/caffe/layers/reverse_layer.cpp of caffe_ocr.
    """

    exact_bottoms = exact_tops = 1
    backward_reads_bottoms = backward_reads_tops = False

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        self.along = self.axis(self.param.reverse_param.axis, len(shape))
        top[0].reshape(*shape)

    def forward(self, bottom, top):
        top[0].tensor = bottom[0].tensor.flip(self.along)

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            bottom[0].grad = top[0].grad.flip(self.along)
