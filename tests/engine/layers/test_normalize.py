"""Normalize."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused

EPS = float(np.float32(1e-10))


def normalised(x, scale, across, eps=EPS):
    """Each value over the norm of its image or pixel, times the scale of its channel."""
    top = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        summed = x[place[0]] if across else x[(place[0], slice(None), *place[2:])]
        norm = np.sqrt(sum(value ** 2 for value in summed.flat) + eps)
        top[place] = x[place] / norm * (scale[place[1]] if scale.ndim else scale)
    return top


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (4, 3)])
@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_values_and_gradients(shape, across, shared):
    settings = f"across_spatial: {str(across).lower()} channel_shared: {str(shared).lower()}"
    check(f"type: 'Normalize' norm_param {{ {settings} }}", [randn(*shape)],
          lambda x, scale: normalised(x, scale, across), blobs=[np.array(1.5) if shared else randn(3, seed=1)])


def test_eps_is_inside_the_root():
    check("type: 'Normalize' norm_param { eps: 0.5 across_spatial: false }", [randn(2, 3, 4)],
          lambda x, scale: normalised(x, scale, False, 0.5), blobs=[np.array(2.0)])


def test_initial_scales():
    assert Runner("type: 'Normalize'", [randn(2, 3)]).layer.blobs[0].data.tolist() == 1
    ssd = "norm_param { across_spatial: false scale_filler { type: 'constant' value: 20 } channel_shared: false }"
    assert Runner(f"type: 'Normalize' {ssd}", [randn(2, 3, 4, 5)]).layer.blobs[0].data.tolist() == [20] * 3


def test_a_scale_of_zero_has_a_gradient():
    runner = Runner("type: 'Normalize' norm_param { scale_filler { value: 0 } }", [np.array([[3.0, 4]])])
    runner.forward()
    runner.backward([np.array([[1.0, 1]])], [True])
    np.testing.assert_allclose(runner.parameter_diffs()[0], 1.4, rtol=1e-6)


def test_bad_input():
    refused("type: 'Normalize'", [(3,)], "at least 2 axes")
    refused("type: 'Normalize' norm_param { eps: -1 }", [(2, 3)], "eps must be at least 0, found -1")
    runner = Runner("type: 'Normalize' norm_param { channel_shared: false }", [randn(2, 3)])
    runner.bottom[0].reshape(3, 2)
    with pytest.raises(ValueError, match="3 channels"):
        runner.forward()
