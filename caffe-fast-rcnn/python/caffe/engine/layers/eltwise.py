"""Eltwise: the elementwise sum, product or maximum of several blobs."""
from __future__ import annotations

import torch

from ..layer import Layer, register


@register("Eltwise")
class Eltwise(Layer):
    """Elementwise SUM (default; sum of coeff_i bottom_i), PROD (product) or MAX (maximum) of the bottoms.

    bottoms  two or more of the same shape
    param    eltwise_param: operation; coeff (for SUM, one per bottom, 1 unless given; MAX ignores them);
             stable_prod_grad (for PROD; true: the gradient multiplies the other bottoms, false: it divides the top by
             the bottom)

    A tie of bottoms 0 and 1 in MAX goes to bottom 1; later ones must be strictly larger.
    In place, values and gradients are those of separate blobs; in BVLC Caffe, bottom 0 is lost.
    Source: src/caffe/layers/eltwise_layer.cpp.
    """

    min_bottoms = 2
    exact_tops = 1
    runs_in_place = True

    def setup(self, bottom, top):
        param = self.param.eltwise_param
        self.operation = param.EltwiseOp.Name(param.operation)
        if param.coeff and (self.operation == "PROD" or len(param.coeff) != len(bottom)):
            self.fail(f"coeff is for SUM, one for each of {len(bottom)} bottoms; found {self.operation} with "
                      f"{len(param.coeff)}")
        self.coefficients = list(param.coeff) or [1.0] * len(bottom)
        self.backward_reads_bottoms = self.operation == "PROD"
        self.backward_reads_tops = self.operation == "PROD" and not param.stable_prod_grad

    def reshape(self, bottom, top):
        for blob in bottom[1:]:
            if blob.shape != bottom[0].shape:
                self.fail(f"all bottoms must have one shape, found {bottom[0].shape} and {blob.shape}")
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        values = [blob.tensor for blob in bottom]
        top[0].tensor = {"SUM": self._sum, "PROD": self._product, "MAX": self._maximum}[self.operation](values)

    def _sum(self, values: list[torch.Tensor]) -> torch.Tensor:
        first = self.coefficients[0]
        total = values[0] if first == 1 else values[0] * first
        for value, factor in zip(values[1:], self.coefficients[1:], strict=True):
            total = torch.add(total, value, alpha=factor)
        return total

    @staticmethod
    def _product(values: list[torch.Tensor]) -> torch.Tensor:
        product = values[0]
        for value in values[1:]:
            product = product * value
        return product

    def _maximum(self, values: list[torch.Tensor]) -> torch.Tensor:
        best = torch.maximum(values[0], values[1])
        self.winner = (values[0] <= values[1]).to(torch.int16)
        for index, value in enumerate(values[2:], start=2):
            self.winner = self.winner.where(value <= best, index)
            best = torch.maximum(best, value)
        return best

    def backward(self, top, propagate_down, bottom):
        gradient, values = top[0].grad, [blob.tensor for blob in bottom]
        for index in reversed(range(len(bottom))):      # bottom 0 last: in place, its gradient overwrites the top's
            if propagate_down[index]:
                bottom[index].grad = self._gradient(index, gradient, top[0].tensor, values)

    def _gradient(self, index: int, gradient: torch.Tensor, top: torch.Tensor,
                  values: list[torch.Tensor]) -> torch.Tensor:
        if self.operation == "SUM":
            factor = self.coefficients[index]
            return gradient if factor == 1 else gradient * factor
        if self.operation == "MAX":
            return gradient.where(self.winner == index, 0)
        if self.param.eltwise_param.stable_prod_grad:
            return self._product([gradient, *(value for i, value in enumerate(values) if i != index)])
        return top / values[index] * gradient
