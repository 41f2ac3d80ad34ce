"""ELU: the exponential linear unit."""
from __future__ import annotations

import torch

from ..bases.neuron import NeuronLayer
from ..layer import register


@register("ELU")
class ELU(NeuronLayer):
    """Exponential linear unit: top = bottom where positive, else alpha (exp(bottom) - 1), with elu_param.alpha (1).

    Clevert et al. 2015. Source: src/caffe/layers/elu_layer.cpp.
    """

    def setup(self, bottom, top):
        self.backward_reads_bottoms = self.param.elu_param.alpha < 0    # else the top has the bottom's sign

    def value(self, x):
        return x.where(x > 0, self.param.elu_param.alpha * torch.expm1(x.clamp(max=0)))

    def gradient(self, x, y, dy):
        return dy * (y + self.param.elu_param.alpha).where((x if self.backward_reads_bottoms else y) <= 0, 1)
