"""SPP."""
import numpy as np
import pytest
from layer_checker import check, distinct, refused


def pyramid(x, height, average):
    levels = []
    for level in range(height):
        bins = 2 ** level
        kernel = [-(-size // bins) for size in x.shape[2:]]
        pad = [(k * bins - size + 1) // 2 for k, size in zip(kernel, x.shape[2:], strict=True)]
        top = np.zeros((*x.shape[:2], bins, bins))
        for n, c, i, j in np.ndindex(top.shape):
            starts = [b * k - p for b, k, p in zip((i, j), kernel, pad, strict=True)]
            rows, columns = (slice(max(start, 0), start + k) for start, k in zip(starts, kernel, strict=True))
            pixels = x[n, c, rows, columns]
            area = np.prod([min(start + k, size + p) - start
                            for start, k, p, size in zip(starts, kernel, pad, x.shape[2:], strict=True)])
            top[n, c, i, j] = pixels.sum() / area if average else pixels.max()
        levels.append(top)
    return levels[0] if height == 1 else np.concatenate([level.reshape(len(x), -1) for level in levels], 1)


@pytest.mark.parametrize("height", [1, 2, 3])
@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_spp(height, method):
    check(f"type: 'SPP' spp_param {{ pyramid_height: {height} pool: {method} }}", [distinct(2, 3, 9, 10)],
          lambda x: pyramid(x, height, method == "AVE"), other=[distinct(2, 3, 11, 8)])


def test_bad_input():
    refused("type: 'SPP'", [(1, 2, 3, 4)], "pyramid_height")
    refused("type: 'SPP' spp_param { pyramid_height: 1 pool: STOCHASTIC }", [(1, 2, 3, 4)], "MAX or AVE")
    refused("type: 'SPP' spp_param { pyramid_height: 3 }", [(1, 2, 5, 6)], "too small for 4 x 4 bins")
    refused("type: 'SPP' spp_param { pyramid_height: 1 }", [(1, 2, 3)], "4 axes")
