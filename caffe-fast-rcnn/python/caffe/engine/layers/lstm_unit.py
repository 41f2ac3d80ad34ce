"""LSTMUnit: one step of an LSTM."""
from __future__ import annotations

import torch

from ..bases.recurrent import lstm_unit
from ..layer import AutogradLayer, register


@register("LSTMUnit")
class LSTMUnit(AutogradLayer):
    """One step of an LSTM.

    c = cont f c_prev + i g, h = o tanh(c), with gates i, f, o = sigmoid and g = tanh of bottom 1's quarters

    bottoms  c_prev (1, N, D); gate inputs (1, N, 4 D), in the order i, f, o, g; cont (1, N), 0 where a sequence
             begins, without gradient
    tops     c and h, both (1, N, D)

    Backward writes the gradients of both of the first two bottoms if either is requested.
    Source: src/caffe/layers/lstm_unit_layer.cpp.
    """

    exact_bottoms = 3
    exact_tops = 2
    no_backward_to = not_forced = (2,)
    writes_unasked = True

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        if len(shape) != 3 or shape[0] != 1 or bottom[1].shape != (1, shape[1], 4 * shape[2]):
            self.fail("expected bottoms of shapes (1, N, D) and (1, N, 4 D), found "
                      f"{shape} and {bottom[1].shape}")
        if bottom[2].shape != shape[:2]:
            self.fail(f"expected cont of shape {shape[:2]}, found {bottom[2].shape}")
        for blob in top:
            blob.reshape(*shape)

    def compute(self, *tensors: torch.Tensor):
        previous, gates, cont = tensors
        return lstm_unit(previous, gates, cont.detach()[..., None])

    def backward(self, top, propagate_down, bottom):
        if any(propagate_down):
            super().backward(top, [True, True, False], bottom)
