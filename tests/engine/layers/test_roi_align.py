"""ROIAlign against loops over bins and points."""
import math

import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused

from caffe.engine.layer import LayerError

PARAM = "type: 'ROIAlign' roi_align_param {{ pooled_h: {} pooled_w: {} spatial_scale: {} sampling_ratio: {} }}"
ROIS = np.array([[1, 4, 0, 20, 15], [0, 0, 0, 27, 23], [1, 9.5, 3.5, 11, 9], [0, -8, 6, 13, 40], [0, 2, 2, 2, 2],
                 [1, 60, 60, 70, 70], [0, 12, 10, 8, 5], [1, -3.25, 2.5, 29.75, 8]])


def interpolated(plane, y, x):
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    low, left = math.floor(y), math.floor(x)
    high, right = min(low + 1, height - 1), min(left + 1, width - 1)
    v, u = y - low, x - left
    return ((1 - v) * (1 - u) * plane[low, left] + (1 - v) * u * plane[low, right]
            + v * (1 - u) * plane[high, left] + v * u * plane[high, right])


def aligned(x, rois, pooled_h, pooled_w, scale, ratio):
    top = np.zeros((len(rois), x.shape[1], pooled_h, pooled_w))
    for r, c, i, j in np.ndindex(top.shape):
        image, x1, y1, x2, y2 = rois[r]
        height, width = max((y2 - y1) * scale, 1) / pooled_h, max((x2 - x1) * scale, 1) / pooled_w
        rows, columns = (ratio, ratio) if ratio > 0 else (math.ceil(height), math.ceil(width))
        points = [interpolated(x[int(image), c], y1 * scale + (i + (k + 0.5) / rows) * height,
                               x1 * scale + (j + (m + 0.5) / columns) * width)
                  for k in range(rows) for m in range(columns)]
        top[r, c, i, j] = np.mean(points)
    return top


@pytest.mark.parametrize("pooled_h, pooled_w, scale, ratio", [(2, 3, 0.25, 2), (2, 3, 0.25, -1), (3, 1, 0.125, 0),
                                                              (1, 2, 0.5, 3), (1, 1, 0.5, -1)])
def test_values_and_gradients(pooled_h, pooled_w, scale, ratio):
    check(PARAM.format(pooled_h, pooled_w, scale, ratio), [randn(2, 3, 6, 7), ROIS],
          lambda x, rois: aligned(x, rois, pooled_h, pooled_w, scale, ratio), learns=[0])


def test_settings_in_roi_pooling_param():
    check("type: 'ROIAlign' roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.25 }",
          [randn(2, 3, 6, 7), ROIS], lambda x, rois: aligned(x, rois, 2, 3, 0.25, -1), learns=[0])


def test_the_gradient_of_rois_is_untouched_and_no_rois_are_accepted():
    runner = Runner(PARAM.format(2, 2, 0.25, 2), [randn(2, 3, 6, 7), ROIS])
    found = runner.backward([np.ones_like(value) for value in runner.forward()], [True, True])
    assert found[0].any() and not found[1].any()
    empty = Runner(PARAM.format(2, 2, 0.25, -1), [randn(2, 3, 6, 7), ROIS[:0]])
    assert empty.forward()[0].shape == (0, 3, 2, 2)
    assert not empty.backward([np.zeros((0, 3, 2, 2))], [True, False])[0].any()


def test_bad_input():
    refused("type: 'ROIAlign'", [(2, 3, 6, 7), (4, 5)], "expected roi_align_param, or roi_pooling_param")
    refused("type: 'ROIAlign' roi_align_param { } roi_pooling_param { }", [(2, 3, 6, 7), (4, 5)], "instead; found")
    refused(PARAM.format(0, 2, 1, 2), [(2, 3, 6, 7), (4, 5)], "at least one bin")
    refused(PARAM.format(2, 2, 0, 2), [(2, 3, 6, 7), (4, 5)], "spatial_scale above 0")
    refused(PARAM.format(2, 2, 1, 2), [(2, 3, 6), (4, 5)], "features of 4 axes")
    refused(PARAM.format(2, 2, 1, 2), [(2, 3, 6, 7), (5, 4)], r"RoIs of shape \(R, 5\)")
    with pytest.raises(LayerError, match=r"layer 'tested' \(ROIAlign\): roi 1 is .*batch has 2 image"):
        Runner(PARAM.format(2, 2, 1, 2), [randn(2, 3, 6, 7), np.array([[0, 0, 0, 1, 1], [2, 0, 0, 1, 1]])]).forward()
