"""LSTM: long short-term memory over a sequence."""
from __future__ import annotations

from ..bases.recurrent import RecurrentLayer, lstm_unit
from ..layer import register


@register("LSTM")
class LSTM(RecurrentLayer):
    """h_t, c_t = LSTMUnit(c_{t-1}, W_hc (cont_t h_{t-1}) + W_xc x_t + b_c (+ W_xc_static x_static), cont_t)

    bottoms  x (T, N, ...); cont (T, N), 0 where a sequence begins; optionally x_static (N, ...); with
             `expose_hidden: true` also the first h and c, (1, N, num_output)
    tops     h (T, N, num_output); with expose_hidden also the last h and c, whose gradients are ignored
    blobs    W_xc (4 D, I), b_c (4 D), W_xc_static (4 D, I') where there is x_static, W_hc (4 D, D), D = num_output
    param    recurrent_param: num_output, weight_filler, bias_filler, expose_hidden

    Without expose_hidden, the last state of a forward pass is the first of the next where cont is 1.
    Hochreiter and Schmidhuber 1997; source: src/caffe/layers/lstm_layer.cpp.
    """

    unread_settings = ("recurrent_param.debug_info",)
    num_states = 2

    def parameter_shapes(self, inputs, static):
        size = 4 * self.param.recurrent_param.num_output
        shapes = [(size, inputs), (size,)]
        if static is not None:
            shapes.append((size, static))
        return [*shapes, (size, size // 4)]

    def step(self, gate_input, states, cont, parameters):
        hidden, cell = states
        gates = gate_input + (cont * hidden) @ parameters[-1].T
        cell, hidden = lstm_unit(cell, gates, cont)
        return hidden, (hidden, cell)
