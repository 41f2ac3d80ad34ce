"""Sigmoid."""
from __future__ import annotations

import torch

from ..bases.neuron import NeuronLayer
from ..layer import register


@register("Sigmoid")
class Sigmoid(NeuronLayer):
    """Logistic sigmoid: top = 1 / (1 + exp(-bottom)).

    Source: src/caffe/layers/sigmoid_layer.cpp.
    """

    backward_reads_bottoms = False

    def value(self, x):
        return torch.sigmoid(x)

    def gradient(self, x, y, dy):
        return dy * y * (1 - y)
