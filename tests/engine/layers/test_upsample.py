"""Upsample, with and without a mask."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused

from caffe.engine.layer import LayerError


def repeated(x, scale_h, scale_w):
    top = np.zeros((*x.shape[:2], x.shape[2] * scale_h, x.shape[3] * scale_w))
    for n, c, i, j in np.ndindex(top.shape):
        top[n, c, i, j] = x[n, c, i // scale_h, j // scale_w]
    return top


def placed(x, mask, height, width):
    top = np.zeros((*x.shape[:2], height * width))
    for n, c, i, j in np.ndindex(x.shape):
        top[n, c, int(mask[n, c, i, j])] = x[n, c, i, j]
    return top.reshape(*x.shape[:2], height, width)


def mask_of(shape, height, width):
    """Positions in a plane of height x width, each at most once."""
    source = np.random.default_rng(3)
    planes = [source.permutation(height * width)[:shape[2] * shape[3]] for _ in range(shape[0] * shape[1])]
    return np.array(planes, float).reshape(shape)


@pytest.mark.parametrize("settings, scales", [("scale: 2", (2, 2)), ("scale: 1", (1, 1)),
                                              ("scale_h: 3 scale_w: 2", (3, 2))])
def test_repeated_pixels(settings, scales):
    check(f"type: 'Upsample' upsample_param {{ {settings} }}", [randn(2, 3, 4, 5)], lambda x: repeated(x, *scales))


@pytest.mark.parametrize("settings, size", [
    ("", (6, 8)), ("scale: 2", (6, 8)), ("scale: 3", (9, 12)), ("scale_h: 2 scale_w: 3", (6, 12)),
    ("scale: 2 pad_out_h: true", (5, 8)), ("pad_out_w: true pad_out_h: true", (5, 7)),
    ("scale: 2 upsample_h: 5 upsample_w: 9", (5, 9)),
])
def test_with_a_mask(settings, size):
    mask = mask_of((2, 5, 3, 4), *size)
    check(f"type: 'Upsample' upsample_param {{ {settings} }}", [randn(2, 5, 3, 4), mask],
          lambda x, mask: placed(x, mask, *size), learns=[0])


def test_it_inverts_a_pooling():
    pooling = Runner("type: 'Pooling' pooling_param { kernel_size: 2 stride: 2 }", [randn(2, 3, 4, 6)], num_tops=2)
    top, mask = pooling.forward()
    back, = Runner("type: 'Upsample'", [top, mask]).forward()
    assert back.shape == (2, 3, 4, 6)
    x = randn(2, 3, 4, 6).astype(np.float32)
    np.testing.assert_array_equal(back[back != 0], x[back != 0])
    assert (back != 0).sum() == top.size


def test_coinciding_places_keep_the_last_value_and_all_get_the_gradient():
    runner = Runner("type: 'Upsample'", [np.array([[[[1.0, 2]]]]), np.array([[[[3.0, 3]]]])])
    assert runner.forward()[0].ravel().tolist() == [0, 0, 0, 2, 0, 0, 0, 0]
    found = runner.backward([np.arange(8.0).reshape(1, 1, 2, 4)], [True, True])
    assert found[0].ravel().tolist() == [3, 3] and not found[1].any()


def test_bad_input():
    refused("type: 'Upsample'", [(2, 3, 4, 5)], "needs upsample_param { scale }")
    refused("type: 'Upsample' upsample_param { scale: 0 }", [(2, 3, 4, 5)], "at least 1, found")
    refused("type: 'Upsample' upsample_param { scale: 2 upsample_h: 3 }", [(2, 3, 4, 5)], "upsample_h needs a mask")
    refused("type: 'Upsample' upsample_param { upsample_h: 3 }", [(1, 2, 3, 4)] * 2, "both upsample_h and upsample_w")
    refused("type: 'Upsample' upsample_param { scale_h: 3 }", [(2, 3, 4, 5)], "both scale_h and scale_w")
    refused("type: 'Upsample' upsample_param { scale: 2 scale_h: 3 scale_w: 3 }", [(2, 3, 4, 5)], "either scale")
    refused("type: 'Upsample' upsample_param { scale: 3 pad_out_h: true }", [(1, 2, 3, 4)] * 2, "scale of 2, found 3")
    refused("type: 'Upsample' upsample_param { scale: 2 }", [(2, 3, 4)], "4 axes")
    refused("type: 'Upsample'", [(1, 2, 3, 4), (1, 2, 4, 3)], "mask of the bottom's shape")
    for place in (24, -1):
        with pytest.raises(LayerError, match=rf"the mask names place {place}, the top has 24"):
            Runner("type: 'Upsample'", [randn(1, 1, 2, 3), np.full((1, 1, 2, 3), float(place))]).forward()
