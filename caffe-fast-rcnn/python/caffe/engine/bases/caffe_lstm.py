"""The implementation of Lstm, the LSTM of caffe-lstm: settings, shapes, parameters and gradient clipping."""
from __future__ import annotations

import math

import torch

from ..blob import Blob
from ..fillers import fill
from ..layer import AutogradLayer
from .recurrent import lstm_unit


class LstmLayer(AutogradLayer):
    """Base of Lstm. The gradient stops at the initial state."""

    min_bottoms, max_bottoms = 1, 2
    exact_tops = 1
    no_backward_to = not_forced = (1,)

    def setup(self, bottom, top):
        param = self.param.lstm_param
        for name in ("num_output", "batch_size"):
            if getattr(param, name) < 1:
                self.fail(f"lstm_param: {name} must be at least 1, found {getattr(param, name)}")
        gates, inputs = 4 * param.num_output, math.prod(bottom[0].shape[1 + self._has_items(bottom[0]):])
        for shape, filler in (((gates, inputs), param.weight_filler), ((gates, param.num_output), param.weight_filler),
                              ((gates,), param.bias_filler)):
            self.blobs.append(Blob(*shape))
            fill(self.blobs[-1], filler)
        self.last: tuple[torch.Tensor, ...] | None = None       # states after the last time step

    def _has_items(self, blob: Blob) -> bool:
        """Whether axis 1 of the bottom is the batch axis."""
        return len(blob.shape) == 3 and not self.param.lstm_param.HasField("batch_size")

    def reshape(self, bottom, top):
        param, shape = self.param.lstm_param, bottom[0].shape
        if self._has_items(bottom[0]):
            self.lead, (self.steps, self.items) = shape[:2], shape[:2]
        else:
            self.lead, self.items = shape[:1], param.batch_size
            self.steps, rest = divmod(math.prod(self.lead), self.items)
            if rest:
                self.fail(f"expected time steps of batch_size {self.items} each, found x of shape {shape}")
        top[0].reshape(*self.lead, param.num_output)
        if not (shape and self.steps):
            self.fail(f"expected x of shape (T, N, I) or (T batch_size, ...), with a time step, found {shape}")
        if math.prod(shape[len(self.lead):]) != self.blobs[0].shape[1]:
            self.fail(f"expected {self.blobs[0].shape[1]} inputs at each time step, found x of shape {shape}")
        for blob in bottom[1:]:
            if blob.count != self.steps * self.items:
                self.fail(f"expected clip of {self.steps * self.items} numbers, one for each time step and item, "
                          f"found shape {blob.shape}")

    def forward(self, bottom, top):
        state = bottom[0].tensor.new_zeros(self.items, self.param.lstm_param.num_output)
        kept = self.last if len(bottom) > 1 and self.last and self.last[0].shape == state.shape else None
        self.first = [value.to(state) for value in kept] if kept else [state] * 2
        super().forward(bottom, top)

    def compute(self, *tensors: torch.Tensor):
        weight, recurrent, bias = tensors[-3:]
        inputs = tensors[0].reshape(self.steps, self.items, weight.shape[1]) @ weight.T + bias
        cont = (tensors[1] != 0).to(inputs.dtype) if len(tensors) > 4 else inputs.new_ones(inputs.shape[:2])
        outputs, (hidden, cell) = [], self.first
        for gate_input, flags in zip(inputs, cont.reshape(self.steps, self.items, 1), strict=True):
            gates = self._clipped(gate_input + (flags * hidden) @ recurrent.T)
            cell, hidden = lstm_unit(cell, gates, flags)
            outputs.append(hidden)
        self.last = hidden.detach(), cell.detach()
        return torch.stack(outputs).reshape(*self.lead, recurrent.shape[1])

    def _clipped(self, gates: torch.Tensor) -> torch.Tensor:
        """The gate inputs, with a hook that clips their gradient."""
        most = self.param.lstm_param.clipping_threshold
        if most > 0 and gates.requires_grad:
            gates.register_hook(lambda gradient: gradient.clamp(-most, most))
        return gates
