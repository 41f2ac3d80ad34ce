"""PSROIPooling against loops over bins and pixels."""
import math

import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused

from caffe.engine.layer import LayerError

PARAM = "type: 'PSROIPooling' psroi_pooling_param {{ output_dim: {} group_size: {} spatial_scale: {} }}"
ROIS = np.array([[1, 4, 0, 20, 15], [0, 0, 0, 27, 23], [1, 9.5, 3.5, 11, 9], [0, -8, 6, 13, 40], [0, 2, 2, 2, 2],
                 [1, 60, 60, 70, 70], [0, 12, 10, 8, 5], [1, -0.5, 2.5, 13.5, 8]])


def rounded(value):
    return math.copysign(math.floor(abs(value) + 0.5), value)


def span(first, last, index, bins, scale, length):
    start = rounded(first) * scale
    size = max((rounded(last) + 1) * scale - start, 0.1) / bins
    begin, end = math.floor(index * size + start), math.ceil((index + 1) * size + start)
    return range(min(max(begin, 0), length), min(max(end, 0), length))


def pooled(x, rois, output_dim, group, scale):
    top = np.zeros((len(rois), output_dim, group, group))
    for r, k, i, j in np.ndindex(top.shape):
        image, x1, y1, x2, y2 = rois[r]
        pixels = [x[int(image), (k * group + i) * group + j, row, column]
                  for row in span(y1, y2, i, group, scale, x.shape[2])
                  for column in span(x1, x2, j, group, scale, x.shape[3])]
        top[r, k, i, j] = np.mean(pixels) if pixels else 0
    return top


@pytest.mark.parametrize("output_dim, group, scale", [
    (2, 3, 0.25), (3, 2, 0.25), (5, 1, 0.125), pytest.param(1, 4, 0.5, marks=pytest.mark.slow)])
def test_values_and_gradients(output_dim, group, scale):
    x = randn(2, output_dim * group * group, 6, 7)
    check(PARAM.format(output_dim, group, scale), [x, ROIS],
          lambda x, rois: pooled(x, rois, output_dim, group, scale), learns=[0])


def test_the_gradient_of_rois_is_untouched_and_no_rois_are_accepted():
    runner = Runner(PARAM.format(2, 2, 0.25), [randn(2, 8, 6, 7), ROIS])
    found = runner.backward([np.ones_like(value) for value in runner.forward()], [True, True])
    assert found[0].any() and not found[1].any()
    empty = Runner(PARAM.format(2, 2, 0.25), [randn(2, 8, 6, 7), ROIS[:0]])
    assert empty.forward()[0].shape == (0, 2, 2, 2)
    assert not empty.backward([np.zeros((0, 2, 2, 2))], [True, False])[0].any()


def test_bad_input():
    refused("type: 'PSROIPooling'", [(2, 8, 6, 7), (4, 5)], "at least one bin")
    refused(PARAM.format(2, 2, 0), [(2, 8, 6, 7), (4, 5)], "spatial_scale above 0")
    refused(PARAM.format(0, 2, 1), [(2, 8, 6, 7), (4, 5)], "output_dim must be at least 1, found 0")
    refused(PARAM.format(2, 3, 1), [(2, 8, 6, 7), (4, 5)], "needs 18 channels")
    refused(PARAM.format(2, 2, 1), [(2, 8, 6), (4, 5)], "features of 4 axes")
    refused(PARAM.format(2, 2, 1), [(2, 8, 6, 7), (5, 4)], r"RoIs of shape \(R, 5\)")
    for roi in ([2, 0, 0, 1, 1], [-1, 0, 0, 1, 1], [0, 0, np.nan, 1, 1]):
        with pytest.raises(LayerError, match=r"layer 'tested' \(PSROIPooling\): roi 1 is .*batch has 2 image"):
            Runner(PARAM.format(2, 2, 1), [randn(2, 8, 6, 7), np.array([[0, 0, 0, 1, 1], roi])]).forward()
