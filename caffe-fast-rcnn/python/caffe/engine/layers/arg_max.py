"""ArgMax: the indices of the largest values."""
from __future__ import annotations

import math

import torch

from ..layer import Layer, register


@register("ArgMax")
class ArgMax(Layer):
    """The indices of the top_k largest values, largest first; ties go to the larger index.

    bottoms  (N, ...)
    tops     with argmax_param.axis: the bottom's shape with top_k at that axis; the indices along it, or the values
             with out_max_val. Without axis: (N, 1, top_k), indices into the flattened item; with out_max_val
             (N, 2, top_k), indices and values. Axes of length 1 are appended up to the bottom's number of axes

    No gradient. Source: src/caffe/layers/argmax_layer.cpp.
    """

    exact_bottoms = exact_tops = 1
    no_backward_to = (0,)
    backward_reads_bottoms = backward_reads_tops = False

    def reshape(self, bottom, top):
        param, shape = self.param.argmax_param, bottom[0].shape
        if not shape:
            self.fail("needs a bottom of at least one axis, found a scalar")
        self.along = self.axis(param.axis, len(shape)) if param.HasField("axis") else None
        length = math.prod(shape[1:]) if self.along is None else shape[self.along]
        if not 1 <= param.top_k <= length:
            self.fail(f"top_k must be in 1..{length}, found {param.top_k}")
        if self.along is None:
            rest = (1,) * (len(shape) - 3)
            top[0].reshape(shape[0], 2 if param.out_max_val else 1, param.top_k, *rest)
        else:
            top[0].reshape(*shape[:self.along], param.top_k, *shape[self.along + 1:])

    def forward(self, bottom, top):
        param, value = self.param.argmax_param, bottom[0].tensor
        if self.along is None:
            indices, largest = self._largest(value.reshape(value.shape[0], math.prod(value.shape[1:])), 1)
            found = [indices, largest] if param.out_max_val else [indices]
            top[0].tensor = torch.stack(found, 1).reshape(top[0].shape)
        else:
            top[0].tensor = self._largest(value, self.along)[1 if param.out_max_val else 0]

    def _largest(self, value: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Indices and values of the top_k. A stable sort of the reversed axis puts the larger index of a tie first."""
        values, order = value.flip(axis).sort(dim=axis, descending=True, stable=True)
        count = self.param.argmax_param.top_k
        indices = (value.shape[axis] - 1 - order).to(value.dtype)
        return indices.narrow(axis, 0, count), values.narrow(axis, 0, count)

    def backward(self, top, propagate_down, bottom):
        """No gradient."""
