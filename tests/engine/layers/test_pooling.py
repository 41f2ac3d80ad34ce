"""Pooling against loops over windows and pixels, in particular where Caffe's rules differ from PyTorch's."""
import math

import numpy as np
import pytest
from layer_checker import Runner, check, distinct, randn, refused

from caffe.engine.layer import TRAIN

FLT_MAX = np.finfo(np.float32).max


def windows(shape, kernel, stride, pad, ceil=True):
    """Yield the top's shape, then ((row, column), y range, x range, area) of each window."""
    sizes = []
    for i in (0, 1):
        steps = (shape[2 + i] + 2 * pad[i] - kernel[i]) / stride[i]
        sizes.append((math.ceil(steps) if ceil else math.floor(steps)) + 1)
    if any(pad):
        sizes = [n - ((n - 1) * stride[i] >= shape[2 + i] + pad[i]) for i, n in enumerate(sizes)]
    yield tuple(sizes)
    for place in np.ndindex(*sizes):
        ranges, area = [], 1
        for i in (0, 1):
            start = place[i] * stride[i] - pad[i]
            end = min(start + kernel[i], shape[2 + i] + pad[i])
            area *= end - start
            ranges.append(range(max(start, 0), min(end, shape[2 + i])))
        yield place, ranges[0], ranges[1], area


def pool(x, method, kernel, stride, pad=(0, 0), ceil=True):
    """(values, mask) by loops."""
    places = windows(x.shape, kernel, stride, pad, ceil)
    sizes = next(places)
    values, mask = np.zeros((*x.shape[:2], *sizes)), np.full((*x.shape[:2], *sizes), -1.0)
    for place, rows, columns, area in places:
        for n, c in np.ndindex(x.shape[:2]):
            pixels = [(x[n, c, i, j], i * x.shape[3] + j) for i in rows for j in columns]
            if method == "AVE":
                values[(n, c, *place)] = sum(value for value, _ in pixels) / area
                continue
            best, where = -FLT_MAX, -1
            for value, index in pixels:
                if value > best:
                    best, where = value, index
            values[(n, c, *place)], mask[(n, c, *place)] = best, where
    return values, mask


CASES = {
    "rounded up": ("kernel_size: 3 stride: 2", (2, 3, 7, 8), (3, 3), (2, 2), (0, 0), True),
    "rounded down": ("kernel_size: 3 stride: 2 round_mode: FLOOR", (2, 3, 8, 6), (3, 3), (2, 2), (0, 0), False),
    "ceil_mode: false": ("kernel_size: 3 stride: 2 ceil_mode: false", (2, 3, 8, 6), (3, 3), (2, 2), (0, 0), False),
    "ceil_mode: true": ("kernel_size: 3 stride: 2 ceil_mode: true", (2, 3, 8, 6), (3, 3), (2, 2), (0, 0), True),
    "padded": ("kernel_size: 3 stride: 2 pad: 1", (1, 2, 6, 9), (3, 3), (2, 2), (1, 1), True),
    "last window dropped": ("kernel_size: 2 stride: 2 pad: 1", (1, 3, 5, 6), (2, 2), (2, 2), (1, 1), True),
    "wide padding": ("kernel_h: 3 kernel_w: 2 stride_h: 1 stride_w: 3 pad_h: 2 pad_w: 1",
                     (2, 3, 6, 10), (3, 2), (1, 3), (2, 1), True),
    "larger than the image": ("kernel_size: 5 stride: 2 pad: 1", (2, 1, 3, 4), (5, 5), (2, 2), (1, 1), True),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_windows(case, method):
    settings, shape, *window = CASES[case]
    check(f"type: 'Pooling' pooling_param {{ pool: {method} {settings} }}", [distinct(*shape)],
          lambda x: pool(x, method, *window)[0])


@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_global(method):
    oracle = {"MAX": np.max, "AVE": np.mean}[method]
    check(f"type: 'Pooling' pooling_param {{ pool: {method} global_pooling: true }}", [distinct(3, 4, 5, 2)],
          lambda x: oracle(x, axis=(2, 3), keepdims=True), other=[distinct(2, 4, 3, 6)])


@pytest.mark.parametrize("settings, window", [("kernel_size: 3 stride: 2 pad: 1", ((3, 3), (2, 2), (1, 1))),
                                              ("kernel_size: 2 stride: 1", ((2, 2), (1, 1)))])
def test_ties_go_to_the_first_pixel(settings, window):
    x = np.random.default_rng(0).integers(0, 3, (2, 3, 7, 6)).astype(float)
    runner = Runner(f"type: 'Pooling' pooling_param {{ {settings} }}", [x], num_tops=2)
    values, mask = pool(x, "MAX", *window)
    found = runner.forward()
    assert (found[0] == values).all() and (found[1] == mask).all()
    diff = randn(*values.shape)
    wanted = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(diff.shape):
        place = int(mask[n, c, i, j])
        wanted[n, c, place // 6, place % 6] += diff[n, c, i, j]
    np.testing.assert_allclose(runner.backward([diff, np.zeros_like(diff)], [True])[0], wanted, atol=1e-5)


def test_a_window_without_pixels():
    """Without padding, the last window may start beyond the image: -FLT_MAX, which propagates no gradient."""
    x = distinct(1, 2, 5, 6)
    runner = Runner("type: 'Pooling' pooling_param { kernel_size: 1 stride: 3 }", [x], num_tops=2)
    values, mask = pool(x, "MAX", (1, 1), (3, 3))
    assert values.shape == (1, 2, 3, 3) and (mask == -1).sum() == 10
    found = runner.forward()
    np.testing.assert_allclose(found[0], values, rtol=1e-6)
    assert (found[1] == mask).all()
    gradient = runner.backward([np.ones_like(values), np.zeros_like(values)], [True])[0]
    assert gradient.sum() == 8


def test_stochastic_mean_in_test():
    def oracle(x):
        places = windows(x.shape, (3, 3), (2, 2), (0, 0))
        top = np.zeros((*x.shape[:2], *next(places)))
        for place, rows, columns, _ in places:
            for n, c in np.ndindex(x.shape[:2]):
                pixels = np.array([x[n, c, i, j] for i in rows for j in columns])
                top[(n, c, *place)] = (pixels ** 2).sum() / pixels.sum()
        return top
    check("type: 'Pooling' pooling_param { pool: STOCHASTIC kernel_size: 3 stride: 2 }",
          [np.abs(randn(2, 3, 6, 7)) + 0.1], oracle, gradient=False)


def test_stochastic_draws_in_train():
    x = np.zeros((1, 1, 2, 4000))
    x[:, :, 0, 0::2], x[:, :, 1, 1::2] = 1, 3
    runner = Runner("type: 'Pooling' pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }", [x], phase=TRAIN)
    values = runner.forward()[0]
    assert set(np.unique(values)) == {1.0, 3.0}
    assert 0.7 < (values == 3).mean() < 0.8         # probability 3 / (1 + 3)
    gradient = runner.backward([np.ones_like(values)], [True])[0]
    assert (gradient[0, 0, 0, 0::2] == (values[0, 0, 0] == 1)).all()
    assert (gradient[0, 0, 1, 1::2] == (values[0, 0, 0] == 3)).all()
    assert gradient.sum() == 2000


@pytest.mark.parametrize("settings, match", [
    ("", "expected kernel_size"),
    ("kernel_h: 2", "kernel_h and kernel_w"),
    ("kernel_size: 2 kernel_h: 2 kernel_w: 2", "kernel_size, or kernel_h"),
    ("kernel_size: 2 stride_h: 2", "both stride_h and stride_w"),
    ("kernel_size: 2 stride: 0", "at least 1"),
    ("kernel_size: 2 pad: 2", "pad must be smaller"),
    ("kernel_size: 2 global_pooling: true", "global_pooling"),
    ("global_pooling: true pad: 1", "global_pooling"),
    ("pool: STOCHASTIC kernel_size: 2 pad: 1", "STOCHASTIC"),
    ("kernel_size: 9 round_mode: FLOOR", "does not fit"),
    ("kernel_size: 2 round_mode: FLOOR ceil_mode: true", "contradict"),
])
def test_bad_parameters(settings, match):
    refused(f"type: 'Pooling' pooling_param {{ {settings} }}", [(1, 2, 5, 6)], match)


def test_bad_blobs():
    refused("type: 'Pooling' pooling_param { kernel_size: 2 }", [(2, 5, 6)], "4 axes")
    refused("type: 'Pooling' pooling_param { kernel_size: 2 pool: AVE }", [(1, 2, 5, 6)], "second top", num_tops=2)
    runner = Runner("type: 'Pooling' pooling_param { pool: STOCHASTIC kernel_size: 2 }", [randn(1, 2, 3, 4)])
    with pytest.raises(ValueError, match="TRAIN phase only"):
        runner.backward(runner.forward(), [True])
