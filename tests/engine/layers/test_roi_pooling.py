"""ROIPooling."""
import kernel_oracles as oracle
import numpy as np
import pytest
from layer_checker import Runner, check, distinct, randn, refused

from caffe.engine.layer import LayerError

PARAM = "type: 'ROIPooling' roi_pooling_param {{ pooled_h: {} pooled_w: {} spatial_scale: {} }}"
ROIS = np.array([[1, 4, 0, 20, 15], [0, 0, 0, 27, 23], [1, 9.5, 3.5, 11, 9], [0, -8, 6, 13, 40], [0, 2, 2, 2, 2],
                 [1, 60, 60, 70, 70]])


def pool(pooled_h, pooled_w, scale):
    return lambda x, rois: oracle.roi_pool(x, rois.astype(np.float32), pooled_h, pooled_w, scale)[0]


@pytest.mark.parametrize(("bins", "scale"), [((2, 3), 0.25), ((4, 1), 0.25), ((3, 2), 0.125)])
def test_values_and_gradients(bins, scale):
    check(PARAM.format(*bins, scale), [distinct(2, 3, 6, 7), ROIS], pool(*bins, scale), learns=[0])


def test_the_scale_is_1_by_default():
    check("type: 'ROIPooling' roi_pooling_param { pooled_h: 2 pooled_w: 2 }", [distinct(2, 3, 6, 7), ROIS / 4],
          pool(2, 2, 1), learns=[0])


@pytest.mark.parametrize("length", [57, 114, 121])
def test_bins_that_run_past_their_roi(length):
    x = distinct(1, 2, 3, length + 4)
    rois = np.array([[0, 0, 0, length - 1, 2], [0, 2, 0, length + 1, 2]])
    check(PARAM.format(2, 7, 1), [x, rois], pool(2, 7, 1), gradient=False)
    runner = Runner(PARAM.format(2, 7, 1), [x, rois])
    top, = runner.forward()
    diff = randn(*top.shape).astype(np.float32)
    _, argmax = oracle.roi_pool(x.astype(np.float32), rois.astype(np.float32), 2, 7, 1)
    np.testing.assert_allclose(runner.backward([diff], [True, False])[0],
                               oracle.roi_pool_gradient(diff, argmax, rois.astype(np.float32), x.shape, 1), rtol=1e-6)


def test_a_malformed_roi_pools_a_pixel_and_learns_nothing():
    x = distinct(1, 2, 4, 6)
    runner = Runner(PARAM.format(2, 3, 1), [x, np.array([[0, 3, 2, 1, 0.0]])])
    top, = runner.forward()
    np.testing.assert_array_equal(top[0], np.broadcast_to(x[0, :, 2, 3, None, None], (2, 2, 3)).astype(np.float32))
    assert not runner.backward([np.ones_like(top)], [True, False])[0].any()


def test_a_gradient_requested_for_rois_is_untouched():
    runner = Runner(PARAM.format(2, 3, 0.25), [distinct(2, 3, 6, 7), ROIS])
    top, = runner.forward()
    gradients = runner.backward([np.ones_like(top)], [True, True])
    assert gradients[0].any() and not gradients[1].any()


def test_rois_with_spare_axes_and_no_rois():
    x = distinct(2, 3, 6, 7)
    flat, = Runner(PARAM.format(2, 3, 0.25), [x, ROIS]).forward()
    tall, = Runner(PARAM.format(2, 3, 0.25), [x, ROIS[:, :, None, None]]).forward()
    np.testing.assert_array_equal(tall, flat)
    empty = Runner(PARAM.format(2, 3, 0.25), [x, ROIS[:0]])
    assert empty.forward()[0].shape == (0, 3, 2, 3)
    assert not empty.backward([np.zeros((0, 3, 2, 3))], [True, False])[0].any()


def test_bad_input():
    refused("type: 'ROIPooling'", [(2, 3, 6, 7), (4, 5)], "pooled_h and pooled_w of at least 1")
    refused(PARAM.format(2, 3, 0), [(2, 3, 6, 7), (4, 5)], "spatial_scale above 0")
    refused(PARAM.format(2, 3, 1), [(2, 3, 6, 7), (5, 4)], r"RoIs of shape \(R, 5\), found \(5, 4\)")
    refused(PARAM.format(2, 3, 1), [(2, 3, 6), (4, 5)], "features of 4 axes")
    with pytest.raises(LayerError, match=r"layer 'tested' \(ROIPooling\): .*roi 1 .*batch has 2 image"):
        Runner(PARAM.format(2, 3, 1), [distinct(2, 3, 6, 7), np.array([[0, 0, 0, 1, 1], [2, 0, 0, 1, 1]])]).forward()
