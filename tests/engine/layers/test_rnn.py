"""RNN against a loop over time."""
import numpy as np
from layer_checker import Runner, check, randn, refused

CONT = np.array([[0.0, 0], [1, 1], [0, 1]])
BLOBS = [randn(5, 4), randn(5), randn(5, 5), randn(5, 5, seed=1), randn(5, seed=1)]


def rnn(x, cont, static, blobs, hidden=0.0):
    weight, bias, (recurrent, to_top, top_bias), outputs = blobs[0], blobs[1], blobs[-3:], []
    hidden = hidden + np.zeros((x.shape[1], 5))
    for step, flags in zip(x.reshape(*x.shape[:2], -1), cont[..., None], strict=True):
        hidden = np.tanh(step @ weight.T + bias + static + (flags * hidden) @ recurrent.T)
        outputs.append(np.tanh(hidden @ to_top.T + top_bias))
    return np.array(outputs), hidden


def test_rnn():
    check("type: 'RNN' recurrent_param { num_output: 5 }", [randn(3, 2, 4), CONT],
          lambda x, c, *blobs: rnn(x, c, 0, blobs)[0], blobs=BLOBS, learns=[0],
          other=[randn(3, 1, 4), CONT[:, :1]])


def test_static_input():
    blobs = [*BLOBS[:2], randn(5, 6), *BLOBS[2:]]
    check("type: 'RNN' recurrent_param { num_output: 5 }", [randn(3, 2, 4), CONT, randn(2, 6)],
          lambda x, c, s, *b: rnn(x, c, s @ b[2].T, b)[0], blobs=blobs, learns=[0, 2],
          other=[randn(3, 1, 4), CONT[:, :1], randn(1, 6)])


def test_the_state_is_exposed_or_carries_over():
    ones, first = np.ones((3, 2)), rnn(randn(3, 2, 4), np.ones((3, 2)), 0, BLOBS)
    second = rnn(randn(3, 2, 4), ones, 0, BLOBS, first[1])
    exposed = Runner("type: 'RNN' recurrent_param { num_output: 5 expose_hidden: true }",
                     [randn(3, 2, 4), ones, first[1][None]], num_tops=2)
    carrying = Runner("type: 'RNN' recurrent_param { num_output: 5 }", [randn(3, 2, 4), ones])
    for runner in (exposed, carrying):
        runner.set_blobs(BLOBS)
    carrying.forward()
    found = exposed.forward()
    np.testing.assert_allclose(found[0], second[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1][0], second[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(carrying.forward()[0], second[0], rtol=1e-4, atol=1e-5)


def test_bad_input():
    refused("type: 'RNN' recurrent_param { num_output: 5 expose_hidden: true }", [(3, 2, 4), (3, 2), (1, 3, 5)],
            "first state of shape", num_tops=2)


def test_gradients_are_written_even_if_not_requested():
    runner = Runner("type: 'RNN' recurrent_param { num_output: 5 weight_filler { type: 'xavier' } }",
                    [randn(3, 2, 4), CONT, randn(2, 6)])
    runner.layer.param_propagate_down = [False] * len(runner.layer.blobs)
    runner.forward()
    runner.backward([randn(3, 2, 5)], [False, False, False])
    assert all(blob.diff.any() for blob in (runner.bottom[0], runner.bottom[2], *runner.layer.blobs))


def test_the_number_of_steps_may_change():
    check("type: 'RNN' recurrent_param { num_output: 5 }", [randn(3, 2, 4), CONT],
          lambda x, c, *blobs: rnn(x, c, 0, blobs)[0], blobs=BLOBS, learns=[0],
          other=[randn(5, 2, 4), np.concatenate([CONT, CONT])[:5]])
