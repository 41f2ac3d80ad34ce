"""Base class of recurrent layers: parameters, the loop over time, and the state between forward passes."""
from __future__ import annotations

import math

import torch

from ..blob import Blob
from ..fillers import fill
from ..layer import AutogradLayer


def lstm_unit(cell: torch.Tensor, gates: torch.Tensor, cont: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One LSTM step: the new cell and hidden state.

    cell (..., D); gates (..., 4 D), the inputs of the gates i, f, o and g; cont broadcasts over both.
    """
    i, f, o, g = gates.chunk(4, -1)
    cell = _forget_gate(f, cont) * cell + torch.sigmoid(i) * torch.tanh(g)
    return cell, torch.sigmoid(o) * torch.tanh(cell)


def _forget_gate(f: torch.Tensor, cont: torch.Tensor) -> torch.Tensor:
    """y = cont sigmoid(f), with Caffe's derivative y (1 - y), which is exact only for cont 0 or 1."""
    value = (cont * torch.sigmoid(f)).detach()
    return value + value * (1 - value) * (f - f.detach())


class RecurrentLayer(AutogradLayer):
    """A layer that reads a sequence (T, N, ...) step by step; see LSTM and RNN.

    Subclasses define `num_states`, the parameter shapes and one step. The gradient stops at the initial state. Backward
    computes the gradients of x, x_static and all parameters, whichever were requested. The number of time steps may
    change (BVLC Caffe fixes it in setup). Source: src/caffe/layers/recurrent_layer.cpp.
    """

    min_bottoms = 2
    min_tops = 1
    no_backward_to = not_forced = (1,)
    writes_unasked = True
    num_states = 0

    @property
    def num_output(self) -> int:
        """The size of the hidden state."""
        return self.param.recurrent_param.num_output

    def parameter_shapes(self, inputs: int, static: int | None) -> list[tuple[int, ...]]:
        """The shapes of all parameters: the first two belong to x, the third to x_static, if there is one."""
        raise NotImplementedError

    def step(self, gate_input, states, cont, parameters):
        """(output, new states) of one time step; gate_input (N, ...) is the contribution of x and x_static."""
        raise NotImplementedError

    def setup(self, bottom, top):
        param = self.param.recurrent_param
        exposed = self.num_states if param.expose_hidden else 0
        self.has_static = len(bottom) == 3 + exposed
        if len(bottom) not in (2 + exposed, 3 + exposed) or len(top) != 1 + exposed:
            self.fail(f"expected 2 or 3 bottoms and 1 top, and {exposed} more of each for expose_hidden; "
                      f"found {len(bottom)} and {len(top)}")
        if param.num_output < 1:
            self.fail(f"num_output must be at least 1, found {param.num_output}")
        static = math.prod(bottom[2].shape[1:]) if self.has_static else None
        for shape in self.parameter_shapes(math.prod(bottom[0].shape[2:]), static):
            self.blobs.append(Blob(*shape))
            fill(self.blobs[-1], param.bias_filler if len(shape) == 1 else param.weight_filler)
        self.last: tuple[torch.Tensor, ...] | None = None       # states after the last time step

    def reshape(self, bottom, top):
        sequence, cont, size = bottom[0].shape, bottom[1].shape, self.param.recurrent_param.num_output
        if len(sequence) < 3 or cont != sequence[:2] or not sequence[0]:
            self.fail("expected x of shape (T, N, ...) with at least three axes and one time step, and cont (T, N); "
                      f"found {sequence} and {cont}")
        self._check_inputs("x", sequence[2:], self.blobs[0])
        if self.has_static:
            static = bottom[2].shape
            if len(static) < 2 or static[0] != sequence[1]:
                self.fail(f"expected x_static of shape ({sequence[1]}, ...) with at least two axes, found {static}")
            self._check_inputs("x_static", static[1:], self.blobs[2])
        for blob in bottom[2 + self.has_static:]:
            if blob.shape != (1, sequence[1], size):
                self.fail(f"expected a first state of shape {(1, sequence[1], size)}, found {blob.shape}")
        top[0].reshape(*sequence[:2], size)
        for blob in top[1:]:
            blob.reshape(1, sequence[1], size)

    def _check_inputs(self, name: str, shape: tuple[int, ...], weight: Blob) -> None:
        """Raise LayerError if the number of inputs differs from that in setup."""
        if math.prod(shape) != weight.shape[1]:
            self.fail(f"expected {weight.shape[1]} inputs of {name}, found {math.prod(shape)}")

    def forward(self, bottom, top):
        states = [blob.tensor[0].clone() for blob in bottom[2 + self.has_static:]]
        if not states:
            state = bottom[0].tensor.new_zeros(bottom[0].shape[1], self.param.recurrent_param.num_output)
            kept = self.last or ()
            states = list(kept) if kept and kept[0].shape == state.shape else [state] * self.num_states
        self.first = [state.detach().to(bottom[0].tensor) for state in states]
        super().forward(bottom, top)

    def compute(self, *tensors):
        parameters = tensors[-len(self.blobs):]
        sequence, cont = tensors[0].flatten(2), tensors[1].detach()
        gate_inputs = sequence @ parameters[0].T + parameters[1]
        if self.has_static:
            gate_inputs = gate_inputs + tensors[2].flatten(1) @ parameters[2].T
        outputs, states = [], tuple(self.first)
        for gate_input, flags in zip(gate_inputs, cont, strict=True):
            output, states = self.step(gate_input, states, flags[:, None], parameters)
            outputs.append(output)
        self.last = tuple(state.detach() for state in states)
        exposed = self.last if self.param.recurrent_param.expose_hidden else ()
        return (torch.stack(outputs), *(state[None].clone() for state in exposed))

    def backward(self, top, propagate_down, bottom):
        asked, self.param_propagate_down = self.param_propagate_down, [True] * len(self.blobs)
        super().backward(top, [index == 0 or (self.has_static and index == 2) for index in range(len(bottom))], bottom)
        self.param_propagate_down = asked
