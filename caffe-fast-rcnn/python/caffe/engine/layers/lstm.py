"""LSTM and Lstm: long short-term memory over a sequence, from BVLC Caffe and caffe-lstm."""
from __future__ import annotations

from ..bases.caffe_lstm import LstmLayer
from ..bases.recurrent import RecurrentLayer, lstm_unit
from ..layer import register


@register("LSTM")
class LSTM(RecurrentLayer):
    """Long short-term memory over a sequence.

    h_t, c_t = LSTMUnit(c_{t-1}, W_hc (cont_t h_{t-1}) + W_xc x_t + b_c (+ W_xc_static x_static), cont_t)

    bottoms  x (T, N, ...); cont (T, N), 0 where a sequence begins; optionally x_static (N, ...); with
             `expose_hidden: true` also the initial h and c, (1, N, num_output)
    tops     h (T, N, num_output); with expose_hidden also the final h and c, whose gradients are ignored
    blobs    W_xc (4 D, I), b_c (4 D), W_xc_static (4 D, I') if there is x_static, W_hc (4 D, D), with D = num_output
    param    recurrent_param: num_output, weight_filler, bias_filler, expose_hidden

    Without expose_hidden, a forward pass continues from the final state of the last one where cont is 1.
    Hochreiter and Schmidhuber 1997; source: src/caffe/layers/lstm_layer.cpp.
    """

    unread_settings = ("recurrent_param.debug_info",)
    num_states = 2

    def parameter_shapes(self, inputs, static):
        size = 4 * self.num_output
        shapes = [(size, inputs), (size,)]
        if static is not None:
            shapes.append((size, static))
        return [*shapes, (size, size // 4)]

    def step(self, gate_input, states, cont, parameters):
        hidden, cell = states
        gates = gate_input + (cont * hidden) @ parameters[-1].T
        cell, hidden = lstm_unit(cell, gates, cont)
        return hidden, (hidden, cell)


@register("Lstm")
class Lstm(LstmLayer):
    """The LSTM of caffe-lstm, with settings and parameters that differ from LSTM's.

    h_t, c_t = LSTMUnit(c_{t-1}, W_h (cont_t h_{t-1}) + W_x x_t + b, cont_t)

    bottoms  x (T, N, I); if it has another number of axes or batch_size is set, (T batch_size, ...), ordered by time
             step; optionally clip, the formula's cont_t: one value per time step and item, 0 where a sequence begins
    tops     h (T, N, num_output), or (T batch_size, num_output)
    blobs    W_x (4 D, I), W_h (4 D, D), b (4 D), with the gates in the order of LSTM: i, f, o, g; D = num_output
    param    lstm_param: num_output, weight_filler, bias_filler, batch_size (1), and clipping_threshold (0, off): clips
             the gradients of the gate inputs to -clipping_threshold..clipping_threshold at every time step

    Without clip, every pass begins with zero states. With clip, a pass continues from the final state of the last one
    where clip is not 0. Source: src/caffe/layers/lstm_layer.cpp of caffe-lstm and caffe_ocr, where the gradient of W_h
    does not stop at a clip of 0, and clip is misaligned for several sequences.
    """
