"""ONNX conversions of sequence layers. Recurrent layers become a Scan over time steps, from zero states by default."""
from __future__ import annotations

import math

import numpy as np

from .onnx_graph import Step, converts


def _lstm_unit(step: Step, cell: str, gates: str, *cont: str) -> tuple[str, str]:
    """The new cell and hidden state; cell (..., D), gates (..., 4 D), cont (..., 1), which is 1 if omitted."""
    i, f, o, g = step.nodes("Split", [gates], 4, axis=-1, num_outputs=4)
    kept = step.node("Mul", _marked(step, step.node("Sigmoid", f), *cont), cell)
    added = step.node("Mul", step.node("Sigmoid", i), step.node("Tanh", g))
    cell = step.node("Add", kept, added)
    return cell, step.node("Mul", step.node("Sigmoid", o), step.node("Tanh", cell))


def _marked(step: Step, value: str, *cont: str) -> str:
    return step.node("Mul", *cont, value) if cont else value


@converts("LSTMUnit")
def lstm_unit(step: Step):
    cell, gates, cont = step.inputs
    shape = step.bottoms[2].shape
    return list(_lstm_unit(step, cell, gates, step.reshaped(cont, shape, (*shape, 1))))


def _gate_inputs(step: Step) -> str:
    """The contribution of x and x_static to the gates, (T, N, gates)."""
    (steps, items), size = step.shape[:2], step.layer.blobs[0].shape[0]
    rows = step.reshaped(step.inputs[0], step.shape, (steps * items, math.prod(step.shape[2:])))
    found = step.restored(step.node("Gemm", rows, step.weight(0), step.weight(1), transB=1), (), (steps, items, size))
    if not step.layer.has_static:
        return found
    shape = step.bottoms[2].shape
    static = step.reshaped(step.inputs[2], shape, (items, math.prod(shape[1:])))
    return step.node("Add", found, step.node("Gemm", static, step.weight(2), transB=1))


def _run(step: Step, body) -> list[str]:
    """Run the body over all time steps: [final states..., outputs (T, N, D)]; slices: gate inputs and cont (N, 1)."""
    layer, (steps, items) = step.layer, step.shape[:2]
    size = layer.param.recurrent_param.num_output
    given = step.inputs[2 + layer.has_static:]
    states = [step.reshaped(value, (1, items, size), (items, size)) for value in given] or \
        [step.filled((items, size), 0)] * layer.num_states
    cont = step.reshaped(step.inputs[1], (steps, items), (steps, items, 1))
    return step.scan(body, states, [_gate_inputs(step), cont])


def _tops(step: Step, output: str, states: list[str]) -> list[str]:
    """The sequence, and with expose_hidden the final states."""
    return [output, *(step.restored(state, (), blob.shape) for state, blob in zip(states, step.tops[1:], strict=False))]


def _lstm_step(step: Step, recurrent: str):
    """The body of LSTM and Lstm for `Step.scan`: its slices are gate inputs (N, 4 D) and optionally cont (N, 1)."""
    def one(states, slices):
        (hidden, cell), (gate_input, *cont) = states, slices
        gates = step.node("Gemm", _marked(step, hidden, *cont), recurrent, gate_input, transB=1)
        cell, hidden = _lstm_unit(step, cell, gates, *cont)
        return [hidden, cell], [hidden]
    return one


@converts("LSTM")
def lstm(step: Step):
    *states, output = _run(step, _lstm_step(step, step.weight(len(step.layer.blobs) - 1)))
    return _tops(step, output, states)


@converts("Lstm")
def lstm_of_caffe_lstm(step: Step):
    layer = step.layer
    (steps, items), (gates, inputs) = (layer.steps, layer.items), layer.blobs[0].shape
    weight, recurrent, bias = step.weights()
    rows = step.reshaped(step.inputs[0], step.shape, (steps * items, inputs))
    gate_inputs = step.restored(step.node("Gemm", rows, weight, bias, transB=1), (), (steps, items, gates))
    cont = [step.reshaped(step.as_floats(step.as_flags(clip)), blob.shape, (steps, items, 1))
            for clip, blob in zip(step.inputs[1:], step.bottoms[1:], strict=True)]
    zeros = step.filled((items, gates // 4), 0)
    *_, output = step.scan(_lstm_step(step, recurrent), [zeros, zeros], [gate_inputs, *cont])
    return step.restored(output, (steps, items, gates // 4), step.top_shape)


@converts("RNN")
def rnn(step: Step):
    recurrent, weight, bias = step.weights()[-3:]

    def one(states, slices):
        gate_input, cont = slices
        before = step.node("Gemm", step.node("Mul", cont, states[0]), recurrent, gate_input, transB=1)
        hidden = step.node("Tanh", before)
        return [hidden], [hidden]

    state, hidden = _run(step, one)
    rows = step.restored(hidden, (), (-1, step.top_shape[2]))
    output = step.node("Tanh", step.node("Gemm", rows, weight, bias, transB=1))
    return _tops(step, step.restored(output, (), step.top_shape), [state])


# ---------------------------------------------------------------------------------------------- labels of paths
@converts("CTCGreedyDecoder")
def ctc_greedy_decoder(step: Step):
    if len(step.inputs) > 1:
        step.refuse("it compares decoded with true labels, which is not supported")
    scores = step.reshaped(step.inputs[0], step.shape, step.shape[:3])
    path = step.node("Transpose", step.node("ArgMax", scores, axis=2, keepdims=0), perm=[1, 0])
    found = _labels_of_paths(step, path, step.layer.param.ctc_decoder_param.ctc_merge_repeated)
    return step.node("Unsqueeze", step.as_floats(found), step.ints(2, 3))


@converts("LabelsequenceAccuracy")
def labelsequence_accuracy(step: Step):
    items, steps, _ = step.shape
    length = step.bottoms[1].shape[1]
    path = step.node("ArgMax", step.inputs[0], axis=2, keepdims=0)
    found = _labels_of_paths(step, path, merge=True)
    labels = step.as_ints(step.reshaped(step.inputs[1], step.bottoms[1].shape, (items, length)))
    true = _to_front(step, labels, _is_label(step, labels))
    width = max(steps, length)
    found, true = (step.node("Concat", value, step.array(np.full((items, width - number), -1)), axis=1)
                   for value, number in ((found, steps), (true, length)))
    wrong = step.reduced("ReduceMax", step.as_floats(step.node("Not", step.node("Equal", found, true))), [1])
    return step.node("Sub", step.floats(1), step.times(step.total(wrong), 1 / items))


def _is_label(step: Step, values: str) -> str:
    return step.node("Not", step.node("Equal", values, step.ints(step.layer.blank)))


def _labels_of_paths(step: Step, path: str, merge: bool) -> str:
    """The labels of paths (N, T), padded with -1."""
    kept = _is_label(step, path)
    if merge:
        before = step.node("Concat", step.node("Sub", step.cut(path, [0], [1], [1]), step.ints(1)),
                           step.cut(path, [0], [-1], [1]), axis=1)      # first - 1 never equals the first
        kept = step.node("And", kept, step.node("Not", step.node("Equal", path, before)))
    return _to_front(step, path, kept)


def _to_front(step: Step, values: str, kept: str) -> str:
    """The kept values of each row (N, L), in order, padded with -1."""
    length = step.length(values, 1)
    end = step.node("Squeeze", length, step.ints(0))
    place = step.node("Range", step.array(np.array(0)), end, step.array(np.array(1)))
    place = step.node("Where", kept, place, step.node("Add", place, end))
    _, order = step.nodes("TopK", [place, length], 2, axis=1, largest=0)
    return step.node("GatherElements", step.node("Where", kept, values, step.ints(-1)), order, axis=1)


@converts("ContinuationIndicator")
def continuation_indicator(step: Step):
    return step.array(step.layer.fresh_values()[0].float().cpu().numpy(), "begins")
