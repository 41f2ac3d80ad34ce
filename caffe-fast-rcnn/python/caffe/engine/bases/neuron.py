"""Base class of elementwise layers."""
from __future__ import annotations

import torch

from ..layer import Layer


class NeuronLayer(Layer):
    """A layer that applies a function to each value of its bottom; defined by the function and its derivative.

    Subclasses declare which blobs the gradient uses (`backward_reads_bottoms`, `backward_reads_tops`).
    Source: include/caffe/layers/neuron_layer.hpp.
    """

    exact_bottoms = exact_tops = 1
    runs_in_place = True
    any_type = False        # whether it is exact in bfloat16 and can use the stored values directly

    def value(self, x: torch.Tensor) -> torch.Tensor:
        """The top for a bottom x, as a new tensor."""
        raise NotImplementedError(f"{type(self).__name__} has no value")

    def gradient(self, x: torch.Tensor, y: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
        """The gradient of the bottom, for a bottom x, a top y and its gradient dy."""
        raise NotImplementedError(f"{type(self).__name__} has no gradient")

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].tensor = self.value(bottom[0].stored if self.any_type else bottom[0].tensor)

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        if self.any_type:
            x, y, dy = bottom[0].stored, top[0].stored, top[0].stored_grad
            if dy.dtype != x.dtype:
                dy = dy.to(x.dtype)
        else:
            x, y, dy = bottom[0].tensor, top[0].tensor, top[0].grad
        bottom[0].grad = self.gradient(x, y, dy)
