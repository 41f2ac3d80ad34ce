"""SPP."""
import numpy as np
import pytest
from layer_checker import Runner, check, distinct, refused

import caffe


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


STOCHASTIC = "type: 'SPP' spp_param { pyramid_height: 2 pool: STOCHASTIC }"


def test_stochastic_takes_the_weighted_mean_in_test():
    x = distinct(1, 2, 4, 6) ** 2
    parts = [x[:, :, i:i + h, j:j + w] for h, w in ((4, 6), (2, 3)) for i in range(0, 4, h) for j in range(0, 6, w)]
    means = [(part ** 2).sum((2, 3)) / part.sum((2, 3)) for part in parts]
    wanted = np.concatenate([means[0].ravel(), np.stack(means[1:], 2).ravel()])
    runner = Runner(STOCHASTIC, [x])
    np.testing.assert_allclose(runner.forward()[0], wanted[None], rtol=1e-5)
    with pytest.raises(ValueError, match="in the TRAIN phase only"):
        runner.backward([np.ones((1, 10))], [True])


def test_stochastic_draws_in_training_and_the_gradient_goes_to_what_was_drawn():
    caffe.set_random_seed(1)
    x = distinct(1, 2, 4, 6) ** 2
    runner, tops = Runner(STOCHASTIC, [x], phase=caffe.TRAIN), set()
    for _ in range(3):
        (top,) = runner.forward()
        tops.add(tuple(top[0]))
        (gradient,) = runner.backward([np.ones((1, 10))], [True])
        assert all(np.isclose(x, value).any() for value in top.ravel()) and gradient.sum() == 10
        np.testing.assert_allclose((gradient * x).sum(), top.sum(), rtol=1e-5)
    assert len(tops) > 1


def test_bad_input():
    refused("type: 'SPP'", [(1, 2, 3, 4)], "pyramid_height")
    refused("type: 'SPP' spp_param { pyramid_height: 2 pool: STOCHASTIC }", [(1, 2, 3, 4)], "STOCHASTIC takes no pad")
    refused("type: 'SPP' spp_param { pyramid_height: 3 }", [(1, 2, 5, 6)], "too small for 4 x 4 bins")
    refused("type: 'SPP' spp_param { pyramid_height: 1 }", [(1, 2, 3)], "4 axes")
