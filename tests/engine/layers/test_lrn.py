"""LRN against loops over channels and pixels."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused


def across(x, size, alpha, beta, k):
    top = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(x.shape):
        total = sum(x[n, other, i, j] ** 2 for other in range(c - size // 2, c + size // 2 + 1)
                    if 0 <= other < x.shape[1])
        top[n, c, i, j] = x[n, c, i, j] / (k + alpha / size * total) ** beta
    return top


def within(x, size, alpha, beta):
    height, width, reach = *x.shape[2:], size // 2
    top = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(x.shape):
        total = sum(x[n, c, y, z] ** 2 for y in range(max(i - reach, 0), min(i + reach + 1, height))
                    for z in range(max(j - reach, 0), min(j + reach + 1, width)))
        rows = min(i + reach + 1, height + reach) - (i - reach)
        columns = min(j + reach + 1, width + reach) - (j - reach)
        top[n, c, i, j] = x[n, c, i, j] / (1 + alpha * total / (rows * columns)) ** beta
    return top


@pytest.mark.parametrize("size, alpha, beta, k", [(5, 0.75, 0.75, 1), (3, 0.25, 0.5, 2), (11, 1.5, 0.875, 1)])
def test_across_channels(size, alpha, beta, k):
    check(f"type: 'LRN' lrn_param {{ local_size: {size} alpha: {alpha} beta: {beta} k: {k} }}", [randn(2, 7, 3, 4)],
          lambda x: across(x, size, alpha, beta, k))


def test_within_channel_ignores_k():
    check("type: 'LRN' lrn_param { local_size: 3 alpha: 0.875 beta: 0.75 k: 5 norm_region: WITHIN_CHANNEL }",
          [randn(2, 3, 6, 5)], lambda x: within(x, 3, 0.875, 0.75))


@pytest.mark.parametrize("region, written", [("ACROSS_CHANNELS", True), ("WITHIN_CHANNEL", False)])
def test_across_channels_the_gradient_is_written_even_if_not_requested(region, written):
    runner = Runner(f"type: 'LRN' lrn_param {{ norm_region: {region} }}", [randn(1, 2, 3, 4)])
    runner.forward()
    runner.backward([randn(1, 2, 3, 4)], [False])
    assert runner.bottom[0].diff.all() == written


def test_bad_input():
    refused("type: 'LRN' lrn_param { local_size: 4 }", [(1, 2, 3, 4)], "odd, found 4")
    refused("type: 'LRN'", [(1, 2, 3)], "4 axes")
