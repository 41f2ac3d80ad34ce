"""PReLU."""
import numpy as np
import pytest
from layer_checker import Runner, check, distinct, refused


def prelu(x, slope):
    top = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        factor = slope[place[1]] if slope.ndim else slope
        top[place] = x[place] if x[place] > 0 else factor * x[place]
    return top


@pytest.mark.parametrize("shape", [(2, 4, 3, 5), (5, 4)])
def test_prelu(shape):
    check("type: 'PReLU'", [distinct(*shape)], prelu, blobs=[np.array([0.1, -0.2, 0.3, 0.5])], in_place=True)


def test_one_slope_for_all_channels():
    check("type: 'PReLU' prelu_param { channel_shared: true }", [distinct(2, 4, 3)], prelu, blobs=[np.array(0.3)],
          in_place=True)


def test_initial_slopes():
    assert Runner("type: 'PReLU'", [distinct(2, 3)]).layer.blobs[0].data.tolist() == [0.25] * 3
    given = Runner("type: 'PReLU' prelu_param { filler { value: 0.5 } }", [distinct(2, 3)])
    assert given.layer.blobs[0].data.tolist() == [0.5] * 3


def test_bad_input():
    refused("type: 'PReLU'", [(3,)], "at least 2 axes")
    runner = Runner("type: 'PReLU'", [distinct(2, 3)])
    runner.bottom[0].reshape(3, 2)
    with pytest.raises(ValueError, match="channels"):
        runner.forward()
