"""ArgMax."""
import numpy as np
import pytest
from layer_checker import Runner, check, distinct, refused


def best(line, top_k):
    """(index, value) of the largest values; ties go to the larger index."""
    return sorted(((value, index) for index, value in enumerate(line)), reverse=True)[:top_k]


def flat(x, top_k, values):
    top = np.zeros((len(x), 2 if values else 1, top_k))
    for n, line in enumerate(x.reshape(len(x), -1)):
        for k, (value, index) in enumerate(best(line, top_k)):
            top[n, :, k] = [index, value][:top.shape[1]]
    return top.reshape(top.shape + (1,) * (x.ndim - 3))


def along(x, axis, top_k, values):
    return np.apply_along_axis(lambda line: [pair[0 if values else 1] for pair in best(line, top_k)], axis, x)


@pytest.mark.parametrize("values", [False, True])
@pytest.mark.parametrize("shape", [(4, 6), (3, 2, 4, 5)])
def test_over_all_values(shape, values):
    check(f"type: 'ArgMax' argmax_param {{ top_k: 3 out_max_val: {str(values).lower()} }}", [distinct(*shape)],
          lambda x: flat(x, 3, values), gradient=False)


@pytest.mark.parametrize("values", [False, True])
@pytest.mark.parametrize("axis, top_k", [(1, 2), (-1, 1), (0, 2)])
def test_along_an_axis(axis, top_k, values):
    text = f"axis: {axis} top_k: {top_k} out_max_val: {str(values).lower()}"
    check(f"type: 'ArgMax' argmax_param {{ {text} }}", [distinct(2, 5, 3, 4)],
          lambda x: along(x, axis, top_k, values), gradient=False)


def test_one_axis():
    assert Runner("type: 'ArgMax' argmax_param { out_max_val: true }", [np.array([3.0, 5])]).forward()[0].tolist() \
        == [[[0], [3]], [[0], [5]]]


def test_ties():
    runner = Runner("type: 'ArgMax' argmax_param { top_k: 3 }", [np.array([[2.0, 1, 2, 2]])])
    assert runner.forward()[0].ravel().tolist() == [3, 2, 0]


def test_bad_input():
    refused("type: 'ArgMax' argmax_param { top_k: 7 }", [(2, 6)], "top_k must be in 1..6, found 7")
    refused("type: 'ArgMax' argmax_param { top_k: 0 }", [(2, 6)], "found 0")
    refused("type: 'ArgMax' argmax_param { axis: 2 }", [(2, 6)], "axis 2")
    refused("type: 'ArgMax'", [()], "at least one axis, found a scalar")
