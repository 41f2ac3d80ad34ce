"""BatchNorm: batch statistics, stored statistics, and the accumulation of the former into the latter."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused

import caffe
from caffe.engine.layer import TEST, TRAIN
from caffe.proto import caffe_pb2, prototxt

EPS = float(np.float32(1e-5))


def statistics(x):
    """Mean and variance of each channel, by loops."""
    lines = [[x[place] for place in np.ndindex(x.shape) if place[1] == c] for c in range(x.shape[1])]
    return np.array([np.mean(line) for line in lines]), np.array([np.var(line) for line in lines])


def normalise(x, mean, variance):
    spread = (1, -1) + (1,) * (x.ndim - 2)
    return (x - mean.reshape(spread)) / np.sqrt(variance + EPS).reshape(spread)


@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (6, 5)])
@pytest.mark.parametrize("phase, settings", [(TRAIN, ""), (TEST, "batch_norm_param { use_global_stats: false }")])
def test_batch_statistics(shape, phase, settings):
    blobs = [randn(shape[1]), randn(shape[1]), [0.5]]
    check(f"type: 'BatchNorm' {settings}", [randn(*shape)], lambda x, *_: normalise(x, *statistics(x)), blobs=blobs,
          phase=phase, in_place=True, tolerance=1e-4)


@pytest.mark.parametrize("phase, settings", [(TEST, ""), (TRAIN, "batch_norm_param { use_global_stats: true }")])
def test_stored_statistics(phase, settings):
    blobs = [randn(4), np.abs(randn(4)) + 0.5, [2.5]]
    check(f"type: 'BatchNorm' {settings}", [randn(2, 4, 3, 5)],
          lambda x, mean, variance, weight: normalise(x, mean / weight, variance / weight), blobs=blobs, phase=phase,
          learned=False, in_place=True)


def test_stored_statistics_of_weight_zero_are_zero():
    check("type: 'BatchNorm'", [randn(2, 4, 3)], lambda x, *_: x / np.sqrt(EPS),
          blobs=[randn(4), randn(4), [0]], learned=False, tolerance=1e-3)


def test_one_axis_is_one_channel():
    check("type: 'BatchNorm'", [randn(7)], lambda x, *_: (x - x.mean()) / np.sqrt(x.var() + EPS),
          blobs=[[0], [0], [0]], phase=TRAIN, tolerance=1e-4)


def test_the_running_sums():
    """blob = fraction blob + statistic, with the unbiased variance; also in TEST with use_global_stats: false."""
    for phase in (TRAIN, TEST):
        runner = Runner("type: 'BatchNorm' batch_norm_param { moving_average_fraction: 0.75 use_global_stats: false }",
                        [randn(3, 4, 2)], phase=phase)
        runner.forward()
        runner.set_bottoms([2 * randn(3, 4, 2)])
        runner.forward()
        mean, variance = statistics(randn(3, 4, 2))
        wanted = (0.75 * mean + 2 * mean, (0.75 + 4) * variance * 6 / 5, [1.75])
        for blob, value in zip(runner.layer.blobs, wanted, strict=True):
            np.testing.assert_allclose(blob.data, value, rtol=1e-5, atol=1e-6)


def test_the_statistics_are_not_learned():
    assert [spec.lr_mult for spec in Runner("type: 'BatchNorm'", [randn(2, 3)]).layer.param.param] == [0, 0, 0]
    refused("type: 'BatchNorm' param { lr_mult: 0 } param { lr_mult: 1 }", [(2, 3)], "param 1 has lr_mult 1")


@pytest.mark.parametrize("settings, learned", [
    ("scale_bias: true", 2), ("scale_filler { type: 'uniform' }", 2), ("bias_filler { value: 3 }", 2),
    ("use_weight_bias: true", 2), ("use_weight_bias: true bias_term: false filler { value: 2 }", 1),
    ("use_weight_bias: false scale_bias: true", 0)])
@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (6, 5)])
@pytest.mark.parametrize("stored", [False, True])
def test_scale_and_bias_of_forks(settings, learned, shape, stored):
    blobs = [randn(shape[1]), np.abs(randn(shape[1])) + 0.5, [2.0],
             *(randn(shape[1], seed=seed) for seed in range(1, 1 + learned))]

    def oracle(x, mean, variance, weight, scale=None, bias=None):
        result = normalise(x, *((mean / weight, variance / weight) if stored else statistics(x)))
        spread = (1, -1) + (1,) * (x.ndim - 2)
        result = result if scale is None else result * scale.reshape(spread)
        return result if bias is None else result + bias.reshape(spread)

    text = f"{settings} use_global_stats: {str(stored).lower()}"
    check(f"type: 'BatchNorm' batch_norm_param {{ {text} }}", [randn(*shape)], oracle, blobs=blobs,
          learned=[3, 4][:learned], in_place=True, tolerance=1e-4)


def test_initial_values_of_scale_and_bias():
    def first(settings):
        blobs = Runner(f"type: 'BatchNorm' batch_norm_param {{ {settings} }}", [randn(2, 3)]).layer.blobs
        return [blob.data.tolist() for blob in blobs[3:]]
    assert first("scale_bias: true") == [[1, 1, 1], [0, 0, 0]]
    assert first("scale_filler { value: 2 }") == [[2, 2, 2], [0, 0, 0]]
    assert first("use_weight_bias: true filler { value: 4 } bias_filler { value: 5 }") == [[4, 4, 4], [5, 5, 5]]


def test_multipliers_of_five_blobs():
    net = caffe.Net(prototxt.parse("""
        layer { name: 'in' type: 'Input' top: 'x' input_param { shape { dim: 2 dim: 3 } } }
        layer { name: 'bn' type: 'BatchNorm' bottom: 'x' top: 'y' batch_norm_param { scale_bias: true }
                param { } param { } param { lr_mult: 1 } param { lr_mult: 2 } param { lr_mult: 3 } }
        """, caffe_pb2.NetParameter()), caffe.TRAIN)
    assert net.params_lr == [0, 0, 0, 2, 3]


def test_in_place_the_gradient_survives_a_later_write():
    apart = Runner("type: 'BatchNorm'", [randn(4, 3, 2)], phase=TRAIN)
    within = Runner("type: 'BatchNorm'", [randn(4, 3, 2)], phase=TRAIN, in_place=True)
    diff = [randn(4, 3, 2, seed=1)]
    apart.forward()
    within.forward()
    within.top[0].data[...] = 0
    np.testing.assert_allclose(within.backward(diff, [True])[0], apart.backward(diff, [True])[0], rtol=1e-5)


def test_bad_bottom():
    runner = Runner("type: 'BatchNorm'", [randn(2, 3)])
    runner.bottom[0].reshape(3, 2)
    with pytest.raises(ValueError, match="expected 3 channels"):
        runner.forward()
