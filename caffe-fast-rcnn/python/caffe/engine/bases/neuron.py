"""Base class of elementwise layers."""
from __future__ import annotations

import torch

from ..layer import Layer


class NeuronLayer(Layer):
    """A layer with one bottom and one top of its shape, defined by a function of single values and its derivative.

    Backward reads the current bottom and top: in place both are the top, and types whose derivative needs
    the bottom compute it from the overwritten values, as in Caffe, except those that save the bottom.
    Source: include/caffe/layers/neuron_layer.hpp.
    """

    exact_bottoms = exact_tops = 1
    runs_in_place = True
    keeps_bottom = False    # whether it saves the bottom's values when working in place
    any_type = False        # whether it is exact in bfloat16, so that it works on values as stored

    def value(self, x: torch.Tensor) -> torch.Tensor:
        """The top for a bottom x; a new tensor."""
        raise NotImplementedError(f"{type(self).__name__} has no value")

    def gradient(self, x: torch.Tensor, y: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
        """The gradient of the bottom for a bottom x, a top y and its gradient dy."""
        raise NotImplementedError(f"{type(self).__name__} has no gradient")

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        value = bottom[0].stored if self.any_type else bottom[0].tensor
        is_lost = self.keeps_bottom and self.needs_backward and top[0] is bottom[0]
        self.kept = value.clone() if is_lost else None
        top[0].tensor = self.value(value)

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        if self.any_type:
            x, y, dy = bottom[0].stored, top[0].stored, top[0].stored_grad
            if dy.dtype != x.dtype:
                dy = dy.to(x.dtype)
        else:
            x, y, dy = bottom[0].tensor if self.kept is None else self.kept, top[0].tensor, top[0].grad
        bottom[0].grad = self.gradient(x, y, dy)
