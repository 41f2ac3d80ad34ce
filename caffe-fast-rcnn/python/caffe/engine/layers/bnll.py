"""BNLL: the binomial normal log likelihood, also called softplus."""
from __future__ import annotations

import torch

from ..bases.neuron import NeuronLayer
from ..layer import register

_LIMIT = 50.0       # Caffe's limit for exp


@register("BNLL")
class BNLL(NeuronLayer):
    """Softplus: top = log(1 + exp(bottom)), computed without overflow.

    Source: src/caffe/layers/bnll_layer.cpp.
    """

    backward_reads_tops = False

    def value(self, x):
        # maximum, because autograd halves its gradient at 0, which gives the derivative 1/2
        return torch.maximum(x, x.new_zeros(())) + torch.log1p(torch.exp(-x.abs()))

    def gradient(self, x, y, dy):
        return dy * torch.sigmoid(x.clamp(max=_LIMIT))
