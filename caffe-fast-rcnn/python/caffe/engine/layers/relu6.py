"""ReLU6: a ReLU with an upper bound."""
from __future__ import annotations

import math

from torch.nn import functional

from ..bases.neuron import NeuronLayer
from ..layer import register


@register("ReLU6")
class ReLU6(NeuronLayer):
    """ReLU with an upper bound: top = min(max(bottom, 0) + negative_slope min(bottom, 0), n)

    param    relu6_param: n (6) and negative_slope (0), each from one of the two forks

    The slope is negative_slope at 0, and 0 at n.
    Sandler et al., "MobileNetV2", 2018. Source: src/caffe/layers/relu6_layer.cpp of OpenVINO's training toolbox and of
    MobileNet-YOLO.
    """

    backward_reads_bottoms = False
    keeps_signs = True

    def setup(self, bottom, top):
        param = self.param.relu6_param
        self.most, self.slope = param.n, param.negative_slope
        if not self.most > 0:
            self.fail(f"relu6_param.n must be above 0, found {self.most}")
        if not self.slope >= 0:
            self.fail(f"relu6_param.negative_slope must be at least 0, found {self.slope}")

    def value(self, x):
        if not self.slope:
            return functional.hardtanh(x, 0, self.most)     # its derivative at n is 0, that of clamp is 1
        return functional.hardtanh(functional.leaky_relu(x, self.slope), -math.inf, self.most)

    def gradient(self, x, y, dy):
        return dy.where(y > 0, dy * self.slope).where(y < self.most, 0)
