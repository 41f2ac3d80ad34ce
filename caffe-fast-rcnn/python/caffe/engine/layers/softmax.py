"""Softmax."""
from __future__ import annotations

import torch

from ..layer import Layer, register


@register("Softmax")
class Softmax(Layer):
    """Softmax along an axis: top = exp(bottom) / sum over `axis` (1) of exp(bottom), computed without overflow

    The gradient, top (dtop - sum over axis of dtop top), is computed from the top; if backward runs, it is written even
    if it was not requested. `engine` has no effect here.
    Source: src/caffe/layers/softmax_layer.cpp.
    """

    exact_bottoms = exact_tops = 1
    runs_in_place = True
    writes_unasked = True
    backward_reads_bottoms = False

    def reshape(self, bottom, top):
        self.softmax_axis = self.axis(self.param.softmax_param.axis, len(bottom[0].shape))
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].tensor = torch.softmax(bottom[0].tensor, self.softmax_axis)

    def backward(self, top, propagate_down, bottom):
        value = top[0].tensor
        bottom[0].grad = torch.ops.aten._softmax_backward_data(top[0].grad, value, self.softmax_axis, value.dtype)
