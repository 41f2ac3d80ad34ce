"""BN of PSPNet and of SegNet."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused

from caffe.engine.layer import TEST, TRAIN

PSPNET = "slope_filler { value: 1 } bias_filler { value: 0 }"
SEGNET = "scale_filler { value: 1 } shift_filler { value: 0.001 }"
EPS = float(np.float32(1e-5))


def statistics(x):
    """Mean and variance of each channel, by loops."""
    lines = [[x[place] for place in np.ndindex(x.shape) if place[1] == c] for c in range(x.shape[1])]
    return np.array([np.mean(line) for line in lines]), np.array([np.var(line) for line in lines])


def normalised(x, slope, bias, mean, variance, eps):
    spread = (1, -1) + (1,) * (x.ndim - 2)
    slope, bias, mean, variance = (value.reshape(spread) for value in (slope, bias, mean, variance))
    return (x - mean) / np.sqrt(variance + eps) * slope + bias


def blob(channels, seed):
    return randn(channels, seed=seed).reshape(1, channels, 1, 1)


@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (6, 5)])
def test_pspnet_train(shape):
    blobs = [blob(shape[1], seed) for seed in range(4)]
    check(f"type: 'BN' bn_param {{ {PSPNET} }}", [randn(*shape)],
          lambda x, slope, bias, *_: normalised(x, slope, bias, *statistics(x), EPS), blobs=blobs, phase=TRAIN,
          in_place=True, tolerance=1e-4)


@pytest.mark.parametrize("phase, settings", [(TEST, ""), (TEST, PSPNET), (TRAIN, PSPNET + " frozen: true")])
def test_pspnet_stored_statistics(phase, settings):
    blobs = [blob(4, 0), blob(4, 1), blob(4, 2), np.abs(blob(4, 3)) + 0.5]
    check(f"type: 'BN' bn_param {{ {settings} }}", [randn(2, 4, 3, 5)],
          lambda x, *blobs: normalised(x, *blobs, EPS), blobs=blobs, phase=phase, learned=False, in_place=True)


def test_pspnet_gradient_of_slope_and_bias_with_stored_statistics():
    runner = Runner("type: 'BN' bn_param { eps: 0.0625 }", [randn(2, 4, 3)])
    runner.set_blobs([blob(4, 0), blob(4, 1), blob(4, 2), np.abs(blob(4, 3))])
    runner.forward()
    diff = randn(2, 4, 3, seed=1)
    runner.backward([diff], [True])
    flat = normalised(randn(2, 4, 3), np.ones(4), np.zeros(4), blob(4, 2), np.abs(blob(4, 3)), 0.0625)
    found = runner.parameter_diffs()
    np.testing.assert_allclose(found[0].ravel(), (flat * diff).sum((0, 2)), rtol=1e-5)
    np.testing.assert_allclose(found[1].ravel(), diff.sum((0, 2)), rtol=1e-5)
    assert not found[2].any() and not found[3].any()


def test_pspnet_moving_average():
    """momentum times the stored value, the rest from the batch; the variance is the biased one."""
    runner = Runner(f"type: 'BN' bn_param {{ {PSPNET} momentum: 0.75 }}", [randn(3, 4, 2)], phase=TRAIN)
    runner.forward()
    runner.forward()
    for value, wanted in zip(runner.layer.blobs[2:], statistics(randn(3, 4, 2)), strict=True):
        np.testing.assert_allclose(value.data.ravel(), (0.75 * 0.25 + 0.25) * wanted, rtol=1e-5, atol=1e-7)


def test_initial_blobs_and_their_specs():
    layer = Runner("type: 'BN' param { lr_mult: 3 }", [randn(2, 3)], phase=TRAIN).layer
    assert [value.data.ravel().tolist() for value in layer.blobs] == [[0] * 3] * 4
    assert [(spec.lr_mult, spec.decay_mult) for spec in layer.param.param] == [(3, 1), (1, 1), (0, 0), (0, 0)]
    frozen = Runner(f"type: 'BN' bn_param {{ {PSPNET} frozen: true }}", [randn(2, 3)], phase=TRAIN).layer
    assert [value.data.ravel().tolist() for value in frozen.blobs] == [[1] * 3, [0] * 3, [0] * 3, [1] * 3]
    assert [(spec.lr_mult, spec.decay_mult) for spec in frozen.param.param] == [(0, 0)] * 4
    segnet = Runner(f"type: 'BN' bn_param {{ {SEGNET} }}", [randn(2, 3)]).layer
    assert [value.shape for value in segnet.blobs] == [(1, 3, 1, 1)] * 2


@pytest.mark.parametrize("phase", [TRAIN, TEST])
def test_segnet_learn(phase):
    check(f"type: 'BN' bn_param {{ {SEGNET} }}", [randn(3, 4, 5, 2)],
          lambda x, slope, bias: normalised(x, slope, bias, *statistics(x), 1e-9), blobs=[blob(4, 0), blob(4, 1)],
          phase=phase, in_place=True, tolerance=1e-4)


def test_segnet_inference():
    check(f"type: 'BN' bn_param {{ {SEGNET} bn_mode: INFERENCE }}", [randn(3, 4, 5, 2)],
          lambda x, slope, bias: slope * x + bias, blobs=[blob(4, 0), blob(4, 1)], in_place=True)


def test_segnet_tops_for_mean_and_variance():
    runner = Runner(f"type: 'BN' bn_param {{ {SEGNET} }}", [randn(3, 4, 5, 2)], num_tops=3)
    _, mean, variance = runner.forward()
    assert mean.shape == variance.shape == (1, 4, 1, 1)
    for found, wanted in zip((mean, variance), statistics(randn(3, 4, 5, 2)), strict=True):
        np.testing.assert_allclose(found.ravel(), wanted, rtol=1e-5, atol=1e-7)


def test_bad_input():
    refused("type: 'BN'", [(3,)], "at least 2 axes")
    refused("type: 'BN' bn_param { momentum: 0.9 bn_mode: LEARN }", [(2, 3)], "momentum is of PSPNet's BN and bn_mode")
    refused(f"type: 'BN' bn_param {{ {PSPNET} }}", [(2, 3)], "only SegNet's LEARN", num_tops=3)
    refused("type: 'BN' bn_param { bn_mode: INFERENCE }", [(2, 3)], "only SegNet's LEARN", num_tops=2)
    with pytest.raises(ValueError, match="no mean and variance"):
        Runner("type: 'BN'", [np.zeros((0, 3))], phase=TRAIN).forward()
    runner = Runner("type: 'BN'", [randn(2, 3)])
    runner.bottom[0].reshape(3, 2)
    with pytest.raises(ValueError, match="expected 3 channels"):
        runner.forward()
