"""Swish."""
from __future__ import annotations

import torch

from ..bases.neuron import NeuronLayer
from ..layer import register


@register("Swish")
class Swish(NeuronLayer):
    """Swish activation: top = bottom sigmoid(beta bottom), with swish_param.beta (1).

    Ramachandran et al. 2017. Source: src/caffe/layers/swish_layer.cpp.
    """

    backward_reads_bottoms = False

    def value(self, x):
        self.gate = torch.sigmoid(x * self.param.swish_param.beta)
        return x * self.gate

    def gradient(self, x, y, dy):
        scaled = y * self.param.swish_param.beta
        return dy * (scaled + self.gate * (1 - scaled))
