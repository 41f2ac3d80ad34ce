"""Exp."""
from __future__ import annotations

import math

import torch

from ..bases.neuron import NeuronLayer
from ..layer import register

_MOST_SHIFT = math.log(torch.finfo(torch.float32).max)


@register("Exp")
class Exp(NeuronLayer):
    """Exponential: top = base ^ (shift + scale bottom), with exp_param: base (-1 stands for e), scale (1), shift (0).

    Source: src/caffe/layers/exp_layer.cpp.
    """

    backward_reads_bottoms = False

    def setup(self, bottom, top):
        param = self.param.exp_param
        if param.base != -1 and param.base <= 0:
            self.fail(f"base must be positive, or -1 for e, found {param.base}")
        log_base = 1.0 if param.base == -1 else math.log(param.base)
        self.scale, self.shift = log_base * param.scale, log_base * param.shift
        if self.shift > _MOST_SHIFT:
            self.fail(f"base {param.base:g} to the power of shift {param.shift:g} is too large for a float")

    def value(self, x):
        return torch.exp(x * self.scale) * math.exp(self.shift)

    def gradient(self, x, y, dy):
        return dy * y * self.scale
