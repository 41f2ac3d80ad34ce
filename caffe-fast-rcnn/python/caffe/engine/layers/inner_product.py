"""InnerProduct: a fully connected layer."""
from __future__ import annotations

import math

import torch

from .. import device
from ..bases.matmul import linear
from ..blob import Blob
from ..fillers import fill
from ..layer import Layer, register


@register("InnerProduct")
class InnerProduct(Layer):
    """Fully connected layer: top = bottom weight^T + bias, with the axes from `axis` (1) on flattened

    bottoms  (M..., K...); the K values from `axis` on are one input vector
    tops     (M..., num_output)
    blobs    weight (num_output, K), or (K, num_output) with `transpose: true`; bias (num_output)
    param    inner_product_param: num_output, bias_term (true), axis (1), transpose (false)

    Source: src/caffe/layers/inner_product_layer.cpp.
    """

    exact_bottoms = exact_tops = 1
    backward_reads_tops = False

    def setup(self, bottom, top):
        param = self.param.inner_product_param
        if param.num_output < 1:
            self.fail(f"num_output must be at least 1, found {param.num_output}")
        self.num_inputs = math.prod(bottom[0].shape[self._axis(bottom):])
        shape = (param.num_output, self.num_inputs)
        self.blobs.append(Blob(*(shape[::-1] if param.transpose else shape)))
        fill(self.blobs[0], param.weight_filler)
        if param.bias_term:
            self.blobs.append(Blob(param.num_output))
            fill(self.blobs[1], param.bias_filler)

    def _axis(self, bottom) -> int:
        return self.axis(self.param.inner_product_param.axis, len(bottom[0].shape))

    def reshape(self, bottom, top):
        shape, axis = bottom[0].shape, self._axis(bottom)
        if math.prod(shape[axis:]) != self.num_inputs:
            self.fail(f"expected {self.num_inputs} values from axis {axis} on, found {math.prod(shape[axis:])} "
                      f"in a bottom of shape {shape}")
        top[0].reshape(*shape[:axis], self.param.inner_product_param.num_output)

    def _weight(self) -> torch.Tensor:
        """The weight as (num_output, K), in its factor type."""
        weight = self.blobs[0].factor()
        return weight.T if self.param.inner_product_param.transpose else weight

    def _rows(self, values: torch.Tensor, columns: int) -> torch.Tensor:
        """The values as (M, columns), in their factor type."""
        return device.as_factor(values.reshape(-1, columns))

    def forward(self, bottom, top):
        bias = self.blobs[1].factor() if len(self.blobs) > 1 else None
        rows = self._rows(bottom[0].stored, self.num_inputs)
        top[0].tensor = linear(rows, self._weight(), bias).reshape(top[0].shape)

    def backward(self, top, propagate_down, bottom):
        gradient = self._rows(top[0].stored_grad, self.param.inner_product_param.num_output)
        if self.param_propagate_down[0]:
            self._add_weight_gradient(gradient, self._rows(bottom[0].stored, self.num_inputs))
        if len(self.blobs) > 1 and self.param_propagate_down[1]:
            self.accumulate(1, gradient.sum(0, dtype=self.blobs[1].tensor.dtype), is_given=True)
        if propagate_down[0]:
            bottom[0].grad = linear(gradient, self._weight().T).reshape(bottom[0].shape)

    def _add_weight_gradient(self, gradient: torch.Tensor, rows: torch.Tensor) -> None:
        """Always in float32: with a few hundred rows, the memory traffic of the accumulation dominates."""
        weight, dtype = self.blobs[0], device.float_type()
        gradient, rows = gradient.to(dtype), rows.to(dtype)
        left, right = (rows, gradient) if self.param.inner_product_param.transpose else (gradient, rows)
        if weight.has_grad:
            # addmm accumulates without a second array as large as the weights.
            total = weight.grad_to_update()
            weight.grad = torch.addmm(total, left.T, right, out=total)
        else:
            weight.grad = linear(left.T, right.T)
