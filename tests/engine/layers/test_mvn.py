"""MVN."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused


def normalised(x, across, variance, eps=1e-9):
    top = np.zeros(x.shape)
    for n, c in np.ndindex(x.shape[:2]):
        part = x[n] if across else x[n, c]
        top[n, c] = x[n, c] - part.mean()
        if variance:
            top[n, c] /= part.std() + eps
    return top


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("variance", [False, True])
def test_mvn(across, variance):
    settings = f"across_channels: {str(across).lower()} normalize_variance: {str(variance).lower()}"
    check(f"type: 'MVN' mvn_param {{ {settings} }}", [randn(2, 3, 4, 5)], lambda x: normalised(x, across, variance),
          in_place=True)


def test_eps_is_added_to_the_deviation_and_not_in_the_gradient():
    x = randn(2, 3, 4, 5)
    runner = Runner("type: 'MVN' mvn_param { eps: 0.5 }", [x])
    top, diff = runner.forward()[0], randn(2, 3, 4, 5, seed=1)
    np.testing.assert_allclose(top, normalised(x, False, True, 0.5), rtol=1e-4, atol=1e-5)
    deviation = x.std(axis=(2, 3), keepdims=True) + 0.5
    means = [part.mean(axis=(2, 3), keepdims=True) for part in (diff, diff * top)]
    np.testing.assert_allclose(runner.backward([diff], [True])[0], (diff - means[0] - top * means[1]) / deviation,
                               rtol=1e-4, atol=1e-5)


def test_the_gradient_is_written_even_if_not_requested():
    runner = Runner("type: 'MVN'", [randn(1, 2, 3, 4)])
    runner.forward()
    runner.backward([randn(1, 2, 3, 4, seed=1)], [False])
    assert runner.bottom[0].diff.all()


def test_the_top_has_four_axes():
    assert Runner("type: 'MVN'", [randn(2, 3)]).forward()[0].shape == (2, 3, 1, 1)
    refused("type: 'MVN'", [(1, 2, 3, 4, 5)], "up to 4 axes")
