"""AbsVal."""
from __future__ import annotations

from ..bases.neuron import NeuronLayer
from ..layer import register


@register("AbsVal")
class AbsVal(NeuronLayer):
    """Absolute value: top = |bottom|, with gradient 0 at 0; cannot run in place.

    Source: src/caffe/layers/absval_layer.cpp.
    """

    runs_in_place = False
    backward_reads_tops = False

    def value(self, x):
        return x.abs()

    def gradient(self, x, y, dy):
        return dy * x.sign()
