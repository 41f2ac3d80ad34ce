"""Interp."""
import math

import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused


def resized(x, height, width):
    """Bilinear interpolation with aligned corners."""
    top = np.zeros((*x.shape[:2], height, width))
    for i, j in np.ndindex(height, width):
        y = i * (x.shape[2] - 1) / (height - 1) if height > 1 else 0.0
        z = j * (x.shape[3] - 1) / (width - 1) if width > 1 else 0.0
        for row, column in ((math.floor(y), math.floor(z)), (math.floor(y), math.floor(z) + 1),
                            (math.floor(y) + 1, math.floor(z)), (math.floor(y) + 1, math.floor(z) + 1)):
            share = max(0, 1 - abs(y - row)) * max(0, 1 - abs(z - column))
            if share:
                top[:, :, i, j] += share * x[:, :, row, column]
    return top


@pytest.mark.parametrize("settings, size, cut", [
    ("height: 7 width: 9", (7, 9), (0, 0)),
    ("height: 3 width: 2", (3, 2), (0, 0)),
    ("height: 1 width: 6", (1, 6), (0, 0)),
    ("zoom_factor: 2", (7, 9), (0, 0)),
    ("shrink_factor: 2", (2, 3), (0, 0)),
    ("shrink_factor: 3 zoom_factor: 4", (5, 5), (0, 0)),
    ("pad_beg: -1 zoom_factor: 2", (5, 7), (1, 0)),
    ("pad_beg: -1 pad_end: -1 height: 4 width: 8", (4, 8), (1, 1)),
    ("height: 50 width: 60 zoom_factor: 2", (7, 9), (0, 0)),                  # a single factor takes precedence
    ("height: 6 width: 3 zoom_factor: 2 shrink_factor: 2", (6, 3), (0, 0)),   # two do not
])
def test_values_and_gradients(settings, size, cut):
    def oracle(x):
        part = x[:, :, cut[0]:x.shape[2] - cut[1], cut[0]:x.shape[3] - cut[1]]
        return resized(part, *size)
    check(f"type: 'Interp' interp_param {{ {settings} }}", [randn(2, 3, 4, 5)], oracle)


def test_the_size_of_a_second_bottom():
    check("type: 'Interp'", [randn(2, 3, 4, 5), randn(2, 3, 6, 8)], lambda x, like: resized(x, *like.shape[2:]),
          learns=[0])


def test_the_second_bottom_gets_a_gradient_of_zero():
    runner = Runner("type: 'Interp'", [randn(2, 3, 4, 5), randn(2, 3, 6, 8)])
    found = runner.backward([np.ones_like(value) for value in runner.forward()], [True, True])
    assert found[0].any() and not found[1].any()


def test_bad_input():
    refused("type: 'Interp'", [(2, 3, 4, 5)], "needs height and width")
    refused("type: 'Interp' interp_param { height: 3 }", [(2, 3, 4, 5)], "needs height and width")
    refused("type: 'Interp' interp_param { height: 0 width: 4 }", [(2, 3, 4, 5)], r"found \[0, 4\]")
    refused("type: 'Interp' interp_param { zoom_factor: 0 }", [(2, 3, 4, 5)], "at least 1, found 0 and 1")
    refused("type: 'Interp' interp_param { zoom_factor: 2 pad_beg: 1 }", [(2, 3, 4, 5)], "at most 0, found 1 and 0")
    refused("type: 'Interp' interp_param { zoom_factor: 2 pad_end: -4 }", [(2, 3, 4, 5)], "leave nothing")
    refused("type: 'Interp' interp_param { zoom_factor: 2 }", [(2, 3, 4)], "4 axes")
