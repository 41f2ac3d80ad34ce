"""RNN: a simple recurrent network over a sequence."""
from __future__ import annotations

import torch

from ..bases.recurrent import RecurrentLayer
from ..layer import register


@register("RNN")
class RNN(RecurrentLayer):
    """Simple recurrent network over a sequence.

    h_t = tanh(W_hh (cont_t h_{t-1}) + W_xh x_t + b_h (+ W_xh_static x_static)); o_t = tanh(W_ho h_t + b_o)

    bottoms  x (T, N, ...); cont (T, N), 0 where a sequence begins; optionally x_static (N, ...); with
             `expose_hidden: true` also the initial h, (1, N, num_output)
    tops     o (T, N, num_output); with expose_hidden also the final h, whose gradient is ignored
    blobs    W_xh (D, I), b_h (D), W_xh_static (D, I') if there is x_static, W_hh (D, D), W_ho (D, D), b_o (D)
    param    recurrent_param: num_output (D), weight_filler, bias_filler, expose_hidden

    Without expose_hidden, a forward pass continues from the final state of the last one where cont is 1.
    Source: src/caffe/layers/rnn_layer.cpp.
    """

    unread_settings = ("recurrent_param.debug_info",)
    num_states = 1

    def parameter_shapes(self, inputs, static):
        size = self.param.recurrent_param.num_output
        shapes = [(size, inputs), (size,)]
        if static is not None:
            shapes.append((size, static))
        return [*shapes, (size, size), (size, size), (size,)]

    def step(self, gate_input, states, cont, parameters):
        recurrent, weight, bias = parameters[-3:]
        hidden = torch.tanh(gate_input + (cont * states[0]) @ recurrent.T)
        return torch.tanh(hidden @ weight.T + bias), (hidden,)
