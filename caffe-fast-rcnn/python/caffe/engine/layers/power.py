"""Power."""
from __future__ import annotations

import torch

from ..bases.neuron import NeuronLayer
from ..layer import register


@register("Power")
class Power(NeuronLayer):
    """Power function: top = (shift + scale bottom) ^ power, with power_param: power (1), scale (1), shift (0).

    The gradient is power scale top / (shift + scale bottom), NaN if the sum is 0; powers 0, 1 and 2 need no division.
    Source: src/caffe/layers/power_layer.cpp.
    """

    def setup(self, bottom, top):
        param = self.param.power_param
        # As in C, 0 ^ -1 is infinite and (-1) ^ 0.5 is NaN
        self.constant = torch.tensor(param.shift, dtype=torch.float64).pow(param.power).item()
        self.backward_reads_bottoms = self.param.power_param.power not in (0, 1)
        self.backward_reads_tops = self.param.power_param.power not in (0, 1, 2)

    def value(self, x):
        param = self.param.power_param
        if param.power * param.scale == 0:
            return x.new_full(x.shape, self.constant)
        base = x * param.scale + param.shift
        return base if param.power == 1 else base.pow(param.power)

    def gradient(self, x, y, dy):
        param = self.param.power_param
        factor = param.power * param.scale
        if factor == 0 or param.power == 1:
            return dy * factor
        base = x * param.scale + param.shift
        return dy * factor * (base if param.power == 2 else y / base)
