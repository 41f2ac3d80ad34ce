"""Reorg against a loop over memory, as in Darknet's reorg_cpu."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused


def reorganized(value, stride, reverse):
    """Values are moved between memory positions counted in (C, H, W) and in (C / s^2, H s, W s)."""
    num, channels, height, width = value.shape
    fewer = channels // stride ** 2
    result = np.empty(value.size)
    for n, c, y, x in np.ndindex(value.shape):
        small = x + width * (y + height * (c + channels * n))
        part = c // fewer
        column, row = x * stride + part % stride, y * stride + part // stride
        large = column + width * stride * (row + height * stride * (c % fewer + fewer * n))
        if reverse:
            result[large] = value.flat[small]
        else:
            result[small] = value.flat[large]
    shape = (num, fewer, height * stride, width * stride) if reverse else \
        (num, channels * stride ** 2, height // stride, width // stride)
    return result.reshape(shape)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("stride, shape", [(2, (2, 8, 4, 6)), (3, (1, 18, 6, 3)), (1, (2, 3, 4, 5))])
def test_values(stride, shape, reverse):
    check(f"type: 'Reorg' reorg_param {{ stride: {stride} reverse: {str(reverse).lower()} }}", [randn(*shape)],
          lambda value: reorganized(value, stride, reverse))


def test_the_order_of_darknet():
    """The result of OpenCV's Darknet importer for 0, 1, ... 31 in 4 channels of 2 x 4 pixels."""
    value = np.arange(32.0).reshape(1, 4, 2, 4)
    found = Runner("type: 'Reorg' reorg_param { stride: 2 }", [value]).forward()[0]
    assert found.shape == (1, 16, 1, 2)
    assert found.reshape(4, 8).tolist() == [[0, 2, 4, 6, 16, 18, 20, 22], [1, 3, 5, 7, 17, 19, 21, 23],
                                            [8, 10, 12, 14, 24, 26, 28, 30], [9, 11, 13, 15, 25, 27, 29, 31]]


@pytest.mark.parametrize("settings, shape, match", [
    ("", (2, 4, 4, 6), "needs a stride of at least 1, found 0"),
    ("stride: 0", (2, 4, 4, 6), "needs a stride of at least 1, found 0"),
    ("stride: 2", (2, 4, 6), r"4 axes \(N, C, H, W\), found shape \(2, 4, 6\)"),
    ("stride: 2", (2, 6, 4, 8), "must divide the channels by 4, found 6"),
    ("stride: 2", (2, 4, 5, 6), "must divide height and width, found 5 x 6"),
    ("stride: 2 reverse: true", (2, 6, 4, 8), "must divide the channels by 4, found 6")])
def test_bad_input(settings, shape, match):
    refused(f"type: 'Reorg' reorg_param {{ {settings} }}", [shape], match)
