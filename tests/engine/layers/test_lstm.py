"""LSTM and Lstm against loops over time."""
import numpy as np
import pytest
import torch
from layer_checker import Runner, check, randn, refused

from caffe.engine import device
from caffe.engine.layer import LayerError

CONT = np.array([[0.0, 0], [1, 1], [0, 1]])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(x, cont, static, blobs, hidden=0.0, cell=0.0):
    """(h of all steps, final h, final c); static is the contribution of x_static to the gates."""
    weight, bias, recurrent, outputs = blobs[0], blobs[1], blobs[-1], []
    size = recurrent.shape[1]
    hidden, cell = hidden + np.zeros((x.shape[1], size)), cell + np.zeros((x.shape[1], size))
    for step, flags in zip(x.reshape(*x.shape[:2], -1), cont[..., None], strict=True):
        gates = step @ weight.T + bias + static + (flags * hidden) @ recurrent.T
        i, f, o, g = np.split(gates, 4, axis=1)
        cell = flags * sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(cell)
        outputs.append(hidden)
    return np.array(outputs), hidden, cell


BLOBS = [randn(20, 4), randn(20), randn(20, 5, seed=1)]


def test_lstm():
    check("type: 'LSTM' recurrent_param { num_output: 5 }", [randn(3, 2, 4), CONT],
          lambda x, c, *blobs: lstm(x, c, 0, blobs)[0], blobs=BLOBS, learns=[0],
          other=[randn(3, 1, 4), CONT[:, :1]])


def test_static_input():
    blobs = [*BLOBS[:2], randn(20, 6), BLOBS[2]]
    check("type: 'LSTM' recurrent_param { num_output: 5 }", [randn(3, 2, 4), CONT, randn(2, 6)],
          lambda x, c, s, *b: lstm(x, c, s @ b[2].T, b)[0], blobs=blobs, learns=[0, 2],
          other=[randn(3, 1, 4), CONT[:, :1], randn(1, 6)])


def test_exposed_states():
    text = "type: 'LSTM' recurrent_param { num_output: 5 expose_hidden: true }"
    states = [randn(1, 2, 5, seed=3), randn(1, 2, 5, seed=4)]
    runner = Runner(text, [randn(3, 2, 4), np.ones((3, 2)), *states], num_tops=3)
    runner.set_blobs(BLOBS)
    wanted = lstm(randn(3, 2, 4), np.ones((3, 2)), 0, BLOBS, *(state[0] for state in states))
    for found, want in zip(runner.forward(), wanted, strict=True):
        np.testing.assert_allclose(found.reshape(want.shape), want, rtol=1e-4, atol=1e-5)
    gradient = runner.backward([np.zeros((3, 2, 5)), *(np.ones((1, 2, 5)),) * 2], [True, False, False, False])[0]
    assert (gradient == 0).all()        # gradients of the final states are ignored


def test_the_state_carries_over():
    runner = Runner("type: 'LSTM' recurrent_param { num_output: 5 }", [randn(3, 2, 4), np.ones((3, 2))])
    runner.set_blobs(BLOBS)
    first = lstm(randn(3, 2, 4), np.ones((3, 2)), 0, BLOBS)
    np.testing.assert_allclose(runner.forward()[0], first[0], rtol=1e-4, atol=1e-5)
    runner.backward([np.ones((3, 2, 5))], [True, False])
    second = lstm(randn(3, 2, 4), np.ones((3, 2)), 0, BLOBS, *first[1:])
    np.testing.assert_allclose(runner.forward()[0], second[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings, shapes, match", [
    ("", [(3, 2, 4), (3, 2)], "num_output"),
    ("num_output: 5", [(3, 2, 4), (2, 3)], r"cont \(T, N\)"),
    ("num_output: 5", [(3, 2, 4), (3, 2), (3, 6)], "x_static"),
    ("num_output: 5", [(3, 2, 4), (3, 2), (2,)], r"x_static of shape \(2, ...\) with at least two axes, found \(2,\)"),
    ("num_output: 5", [(3, 2), (3, 2)], "at least three axes"), ("num_output: 5", [(0, 2, 4), (0, 2)], "time step"),
    ("num_output: 5 expose_hidden: true", [(3, 2, 4), (3, 2)], "expected 2 or 3 bottoms"),
])
def test_bad_input(settings, shapes, match):
    refused(f"type: 'LSTM' recurrent_param {{ {settings} }}", shapes, match)


def test_gradients_are_written_even_if_not_requested():
    runner = Runner("type: 'LSTM' recurrent_param { num_output: 5 weight_filler { type: 'xavier' } }",
                    [randn(3, 2, 4), CONT, randn(2, 6)])
    runner.layer.param_propagate_down = [False] * len(runner.layer.blobs)
    runner.forward()
    runner.backward([randn(3, 2, 5)], [False, False, False])
    assert all(blob.diff.any() for blob in (runner.bottom[0], runner.bottom[2], *runner.layer.blobs))


def test_the_number_of_steps_may_change():
    runner = Runner("type: 'LSTM' recurrent_param { num_output: 5 }", [randn(3, 2, 4), CONT])
    runner.set_blobs(BLOBS)
    runner.forward()
    for steps in (2, 5):
        cont = np.concatenate([CONT, CONT])[:steps]
        runner.set_bottoms([randn(steps, 2, 4), cont])
        wanted = lstm(randn(steps, 2, 4), cont, 0, BLOBS)[0]
        np.testing.assert_allclose(runner.forward()[0], wanted, rtol=1e-4, atol=1e-5)
        assert runner.backward([np.ones_like(wanted)], [True, False])[0].shape == (steps, 2, 4)


def test_gradients_with_another_number_of_steps():
    check("type: 'LSTM' recurrent_param { num_output: 5 }", [randn(3, 2, 4), CONT],
          lambda x, c, *blobs: lstm(x, c, 0, blobs)[0], blobs=BLOBS, learns=[0],
          other=[randn(5, 2, 4), np.concatenate([CONT, CONT])[:5]])


# ---- Lstm
OTHER = [BLOBS[0], BLOBS[2], BLOBS[1]]      # the same parameters in the order of Lstm


def caffe_lstm(x, clip, blobs, steps, hidden=0.0, cell=0.0):
    items = clip.size // steps
    found = lstm(x.reshape(steps, items, -1), clip.reshape(steps, items) != 0, 0, [blobs[0], blobs[2], blobs[1]],
                 hidden, cell)
    return found[0].reshape(*x.shape[:-1] if x.ndim == 3 else x.shape[:1], -1), *found[1:]


def gradients_of_caffe_lstm(x, blobs, top_diff, most):
    """Gradients of x and of the parameters, without clip: backpropagation through time, clipping the gate gradients."""
    weight, recurrent, bias = blobs
    (steps, items, _), size = x.shape, recurrent.shape[1]
    hiddens, cells, gates = [np.zeros((items, size))], [np.zeros((items, size))], []
    for step in x:
        before = step @ weight.T + bias + hiddens[-1] @ recurrent.T
        gates.append(np.hstack([sigmoid(before[:, :3 * size]), np.tanh(before[:, 3 * size:])]))
        i, f, o, g = np.split(gates[-1], 4, axis=1)
        cells.append(f * cells[-1] + i * g)
        hiddens.append(o * np.tanh(cells[-1]))
    x_diff, diffs = np.zeros_like(x), [np.zeros_like(blob) for blob in blobs]
    hidden_diff, cell_diff = np.zeros((items, size)), np.zeros((items, size))
    for t in reversed(range(steps)):
        i, f, o, g = np.split(gates[t], 4, axis=1)
        hidden_diff = hidden_diff + top_diff[t]
        cell_diff = cell_diff + hidden_diff * o * (1 - np.tanh(cells[t + 1]) ** 2)
        gate_diff = np.hstack([cell_diff * g * i * (1 - i), cell_diff * cells[t] * f * (1 - f),
                               hidden_diff * np.tanh(cells[t + 1]) * o * (1 - o), cell_diff * i * (1 - g ** 2)])
        gate_diff = np.clip(gate_diff, -most, most)
        cell_diff, hidden_diff = cell_diff * f, gate_diff @ recurrent
        x_diff[t] = gate_diff @ weight
        for diff, add in zip(diffs, (gate_diff.T @ x[t], gate_diff.T @ hiddens[t], gate_diff.sum(0)), strict=True):
            diff += add
    return x_diff, diffs


def test_lstm_of_caffe_lstm():
    check("type: 'Lstm' lstm_param { num_output: 5 }", [randn(3, 2, 4)],
          lambda x, *blobs: caffe_lstm(x, np.ones(x.shape[:2]), blobs, len(x))[0], blobs=OTHER, other=[randn(6, 1, 4)])


@pytest.mark.parametrize("settings, shape", [("batch_size: 2", (6, 4)), ("", (3, 4)), ("batch_size: 2", (6, 4, 1))])
def test_without_a_batch_axis_batch_size_is_used(settings, shape):
    clip = np.array([0.0, 0, 1, 0, 2, 1])[-shape[0]:, None]
    steps = 3
    check(f"type: 'Lstm' lstm_param {{ num_output: 5 {settings} }}", [randn(*shape), clip],
          lambda x, c, *blobs: caffe_lstm(x.reshape(len(x), -1), c, blobs, steps)[0], blobs=OTHER, learns=[0],
          other=[randn(*shape, seed=4), clip[::-1].copy() * (np.arange(len(clip)) > 1)[:, None]])


def test_the_state_carries_over_only_with_clip():
    x, ones = randn(3, 2, 4), np.ones(6)
    first = caffe_lstm(x, ones, OTHER, 3)
    for bottoms, second in (([x], first), ([x, ones], caffe_lstm(x, ones, OTHER, 3, *first[1:]))):
        runner = Runner("type: 'Lstm' lstm_param { num_output: 5 }", bottoms)
        runner.set_blobs(OTHER)
        for wanted in (first, second):
            np.testing.assert_allclose(runner.forward()[0], wanted[0], rtol=1e-4, atol=1e-5)
            runner.backward([np.ones((3, 2, 5))], [True, False][:len(bottoms)])


@pytest.mark.parametrize("most", [1e9, 0.3, 0.02])
def test_gradients_of_gates_are_clipped(most):
    x, diff = randn(4, 2, 3), 2 * randn(4, 2, 5, seed=5)
    blobs = [randn(20, 3), OTHER[1], OTHER[2]]
    with device.use_float_type(torch.float64):
        runner = Runner(f"type: 'Lstm' lstm_param {{ num_output: 5 clipping_threshold: {most} }}", [x])
        runner.set_blobs(blobs)
        runner.forward()
        found = runner.backward([diff], [True])[0]
        wanted, parameters = gradients_of_caffe_lstm(x, blobs, diff, np.float32(most))
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)
        for value, want in zip(runner.parameter_diffs(), parameters, strict=True):
            np.testing.assert_allclose(value, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("settings, shapes, match", [
    ("", [(3, 2, 4)], "lstm_param: num_output must be at least 1, found 0"),
    ("num_output: 5 batch_size: 0", [(3, 4)], "batch_size must be at least 1, found 0"),
    ("num_output: 5 batch_size: 2", [(3, 4)], r"time steps of batch_size 2 each, found x of shape \(3, 4\)"),
    ("num_output: 5", [(0, 2, 4)], r"with a time step, found \(0, 2, 4\)"), ("num_output: 5", [()], "with a time step"),
    ("num_output: 5", [(3, 2, 4), (3, 1)], r"clip of 6 numbers, .* found shape \(3, 1\)"),
    ("num_output: 5", [(3, 2, 4), (3, 2), (3, 2)], "at most 2 bottom"),
])
def test_bad_input_of_caffe_lstm(settings, shapes, match):
    refused(f"type: 'Lstm' lstm_param {{ {settings} }}", shapes, match)


def test_no_sequences():
    runner = Runner("type: 'Lstm' lstm_param { num_output: 5 }", [np.zeros((3, 0, 4))])
    assert runner.forward()[0].shape == (3, 0, 5)
    assert runner.backward([np.zeros((3, 0, 5))], [True])[0].shape == (3, 0, 4)


@pytest.mark.parametrize("text, others, match", [
    ("type: 'Lstm' lstm_param { num_output: 5 }", [],
     r"expected 4 inputs at each time step, found x of shape \(3, 2, 6\)"),
    ("type: 'LSTM' recurrent_param { num_output: 5 }", [CONT], "expected 4 inputs of x, found 6"),
])
def test_a_changed_number_of_inputs_is_refused(text, others, match):
    runner = Runner(text, [randn(3, 2, 4), *others])
    runner.set_bottoms([randn(3, 2, 6), *others])
    with pytest.raises(LayerError, match=match):
        runner.forward()
