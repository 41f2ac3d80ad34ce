"""The base of PSROIPooling and ROIAlign, which takes the RoIs in groups."""
import numpy as np
import pytest
from layer_checker import Runner, randn

from caffe.engine.bases import rois as rois_module

ROIS = np.array([[1, 4, 0, 20, 15], [0, 0, 0, 27, 23], [1, 9.5, 3.5, 11, 9], [0, -8, 6, 13, 40], [0, 2, 2, 2, 2],
                 [1, 60, 60, 70, 70], [0, 12, 10, 8, 5], [1, -3.25, 2.5, 29.75, 8]])


@pytest.mark.parametrize("layer, channels", [
    ("type: 'ROIAlign' roi_align_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.25 sampling_ratio: 2 }", 5),
    ("type: 'PSROIPooling' psroi_pooling_param { output_dim: 5 group_size: 2 spatial_scale: 0.25 }", 20)])
def test_groups_of_rois_give_the_same(layer, channels, monkeypatch):
    """Groups of 3, 3 and 2 RoIs; the gradients are summed in another order."""
    def results():
        runner = Runner(layer, [randn(2, channels, 6, 7), ROIS])
        [top] = runner.forward()
        return top, runner.backward([randn(*top.shape)], [True, False])[0]
    top, gradient = results()
    monkeypatch.setattr(rois_module, "ROIS_AT_ONCE", 3)
    again, gradient_again = results()
    assert np.array_equal(top, again) and top.any()
    np.testing.assert_allclose(gradient, gradient_again, rtol=0, atol=1e-6)
