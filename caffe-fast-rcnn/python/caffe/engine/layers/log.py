"""Log."""
from __future__ import annotations

import math

import torch

from ..bases.neuron import NeuronLayer
from ..layer import register


@register("Log")
class Log(NeuronLayer):
    """Logarithm: top = log_base(shift + scale bottom), with log_param: base (-1 stands for e), scale (1), shift (0).

    Source: src/caffe/layers/log_layer.cpp.
    """

    backward_reads_tops = False

    def setup(self, bottom, top):
        base = self.param.log_param.base
        if base != -1 and (base <= 0 or base == 1):
            self.fail(f"base must be positive and not 1, or -1 for e, found {base}")
        self.factor = 1.0 if base == -1 else 1 / math.log(base)

    def _argument(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.param.log_param.scale + self.param.log_param.shift

    def value(self, x):
        return torch.log(self._argument(x)) * self.factor

    def gradient(self, x, y, dy):
        return dy * (self.factor * self.param.log_param.scale) / self._argument(x)
