"""Bias: add a learned or computed operand."""
from __future__ import annotations

from ..bases.broadcast import gather_sum, operand_axis, operand_of, operand_shape, spread
from ..blob import Blob
from ..fillers import fill
from ..layer import Layer, register


@register("Bias")
class Bias(Layer):
    """Add a bias: top = bottom 0 + bias, with the bias broadcast over the bottom from `axis` on

    bottoms  one; or two, the second being the bias
    tops     same shape as bottom 0
    blobs    with one bottom, the bias (0 unless filler is given); its dimensions are the bottom's at
             axis..axis+num_axes-1
    param    bias_param: axis (1), num_axes (1; -1: all remaining axes; 0: a scalar), filler

    Source: src/caffe/layers/bias_layer.cpp.
    """

    min_bottoms = 1
    max_bottoms = 2
    exact_tops = 1
    runs_in_place = True
    backward_reads_bottoms = backward_reads_tops = False

    def setup(self, bottom, top):
        param = self.param.bias_param
        if len(bottom) == 1:
            self.blobs.append(Blob(*operand_shape(self, bottom[0], param.axis, param.num_axes)))
            fill(self.blobs[0], param.filler)

    def reshape(self, bottom, top):
        self.operand_axis = operand_axis(self, bottom[0], operand_of(self, bottom), self.param.bias_param.axis)
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        value = bottom[0].tensor
        top[0].tensor = value + spread(operand_of(self, bottom).tensor, self.operand_axis, value.dim())

    def backward(self, top, propagate_down, bottom):
        gradient, shape = top[0].grad, operand_of(self, bottom).shape
        if len(bottom) > 1:
            if propagate_down[1]:
                bottom[1].grad = gather_sum(gradient, self.operand_axis, shape)
        elif self.param_propagate_down[0]:
            self.accumulate(0, gather_sum(gradient, self.operand_axis, shape))
        if propagate_down[0] and bottom[0] is not top[0]:
            bottom[0].grad = gradient
