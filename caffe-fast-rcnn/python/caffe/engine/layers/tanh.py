"""TanH."""
from __future__ import annotations

import torch

from ..bases.neuron import NeuronLayer
from ..layer import register


@register("TanH")
class TanH(NeuronLayer):
    """Hyperbolic tangent: top = tanh(bottom).

    Source: src/caffe/layers/tanh_layer.cpp.
    """

    backward_reads_bottoms = False

    def value(self, x):
        return torch.tanh(x)

    def gradient(self, x, y, dy):
        return dy * (1 - y * y)
