"""LSTM against a loop over time."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused

CONT = np.array([[0.0, 0], [1, 1], [0, 1]])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(x, cont, static, blobs, hidden=0.0, cell=0.0):
    """(h of all steps, last h, last c); static is what x_static contributes to the gates."""
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
    assert (gradient == 0).all()        # those of the last states are ignored


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
