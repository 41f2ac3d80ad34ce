"""ContinuationIndicator: the sequence markers that recurrent layers read."""
from __future__ import annotations

import torch

from .. import device
from ..blob import checked_shape
from ..layer import Layer, register


@register("ContinuationIndicator")
class ContinuationIndicator(Layer):
    """The `cont` bottom of LSTM and RNN for sequences that all begin at the first time step: 0 there, then 1.

    tops     (time_step, batch_size)
    param    continuation_indicator_param: time_step, batch_size

    Source: src/caffe/layers/continuation_indicator_layer.cpp of crnn.caffe.
    """

    exact_bottoms = 0
    exact_tops = 1

    def setup(self, bottom, top):
        param = self.param.continuation_indicator_param
        self.shape = param.time_step, param.batch_size
        if 0 in self.shape:
            self.fail("continuation_indicator_param: time_step and batch_size must be at least 1, found "
                      f"{param.time_step} and {param.batch_size}")
        checked_shape(self.shape)

    def fresh_values(self) -> list[torch.Tensor]:
        """The top's value, as the only item of a list."""
        marks = torch.ones(self.shape, dtype=device.float_type(), device=device.current_device())
        marks[0] = 0
        return [marks]

    def reshape(self, bottom, top):
        top[0].reshape(*self.shape)

    def forward(self, bottom, top):
        top[0].tensor, = self.fresh_values()

    def backward(self, top, propagate_down, bottom):
        """No bottoms."""
