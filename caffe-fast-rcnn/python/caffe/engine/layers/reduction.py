"""Reduction: sum or mean over the last axes."""
from __future__ import annotations

import torch

from ..layer import AutogradLayer, register


@register("Reduction")
class Reduction(AutogradLayer):
    """Sum or mean over the axes from `axis` (0) on: top = coeff * SUM, ASUM (of |x|), SUMSQ (of x^2) or MEAN

    tops     the bottom's shape up to the axis; () for axis 0
    param    reduction_param: operation (SUM), axis, coeff (1)

    Source: src/caffe/layers/reduction_layer.cpp.
    """

    exact_bottoms = exact_tops = 1

    def setup(self, bottom, top):
        param = self.param.reduction_param
        self.operation = param.ReductionOp.Name(param.operation)

    def reshape(self, bottom, top):
        self.start = self.axis(self.param.reduction_param.axis, len(bottom[0].shape))
        top[0].reshape(*bottom[0].shape[:self.start])

    def compute(self, *tensors: torch.Tensor) -> torch.Tensor:
        value = tensors[0].flatten(self.start)
        if self.operation == "ASUM":
            value = value.abs()
        elif self.operation == "SUMSQ":
            value = value.square()
        total = value.mean(-1) if self.operation == "MEAN" else value.sum(-1)
        return total * self.param.reduction_param.coeff
