"""Threshold."""
from __future__ import annotations

from ..bases.neuron import NeuronLayer
from ..layer import register


@register("Threshold")
class Threshold(NeuronLayer):
    """Binarise: top = 1 where bottom > threshold_param.threshold (0), else 0; no gradient.

    Source: src/caffe/layers/threshold_layer.cpp.
    """

    no_backward_to = (0,)
    backward_reads_bottoms = backward_reads_tops = False

    def value(self, x):
        return (x > self.param.threshold_param.threshold).to(x.dtype)
