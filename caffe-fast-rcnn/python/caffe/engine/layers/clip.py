"""Clip."""
from __future__ import annotations

from ..bases.neuron import NeuronLayer
from ..layer import register


@register("Clip")
class Clip(NeuronLayer):
    """Clamp values: top = bottom clamped to clip_param.min..clip_param.max; the gradient passes at the bounds too.

    Source: src/caffe/layers/clip_layer.cpp.
    """

    backward_reads_tops = False

    def setup(self, bottom, top):
        param = self.param.clip_param
        if not param.HasField("min") or not param.HasField("max") or param.min > param.max:
            self.fail("clip_param needs min and max, with min not above max")

    def value(self, x):
        return x.clamp(self.param.clip_param.min, self.param.clip_param.max)

    def gradient(self, x, y, dy):
        param = self.param.clip_param
        return dy.where((x >= param.min) & (x <= param.max), 0)
