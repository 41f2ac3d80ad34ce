"""ReLU, with an optional negative slope."""
from __future__ import annotations

import torch

from ..bases.neuron import NeuronLayer
from ..layer import register


@register("ReLU")
class ReLU(NeuronLayer):
    """Rectified linear unit: top = max(bottom, 0) + negative_slope min(bottom, 0)

    At 0 the slope is relu_param.negative_slope (0). Source: src/caffe/layers/relu_layer.cpp.
    """

    any_type = True
    backward_reads_tops = False

    def setup(self, bottom, top):
        self.backward_reads_signs = self.keeps_signs = self._slope >= 0

    @property
    def _slope(self) -> float:
        return self.param.relu_param.negative_slope

    def value(self, x):
        return torch.nn.functional.leaky_relu(x, self._slope) if self._slope else torch.relu(x)

    def forward(self, bottom, top):
        if top[0] is not bottom[0]:
            super().forward(bottom, top)
            return
        # Truly in place: allocating memory for a large blob takes longer than the computation
        value = bottom[0].to_overwrite()
        top[0].tensor = torch.nn.functional.leaky_relu_(value, self._slope) if self._slope else value.relu_()

    def gradient(self, x, y, dy):
        if self._slope:
            return dy.where(x > 0, dy * self._slope)
        return torch.ops.aten.threshold_backward(dy, x, 0)
