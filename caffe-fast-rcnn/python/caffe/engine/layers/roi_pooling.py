"""ROIPooling: max pooling over a fixed grid of bins in each region of interest."""
from __future__ import annotations

from ...kernels import roi_pool_backward, roi_pool_forward
from ..bases.rois import check_shapes
from ..layer import Layer, register


@register("ROIPooling")
class ROIPooling(Layer):
    """The maximum of each channel in each of pooled_h x pooled_w bins of every RoI.

    bottoms  features (N, C, H, W), RoIs (R, 5): batch index, x1, y1, x2, y2 (inclusive corners, in pixels of the input
             image); only the features receive a gradient
    tops     (R, C, pooled_h, pooled_w)
    param    roi_pooling_param: pooled_h, pooled_w, spatial_scale (1), the size of the features relative to the image,
             such as 0.0625

    Corners are scaled and rounded half away from zero. A bin outside the feature map gives 0. A malformed RoI is pooled
    as a single pixel and passes no gradient back. If a gradient for the RoIs is requested, as when a trained RPN
    proposes them, none is written, as in Caffe.
    Source: Girshick, "Fast R-CNN", 2015, section 2.1.
    """

    exact_bottoms = 2
    exact_tops = 1
    backward_reads_tops = False

    def setup(self, bottom, top):
        param = self.param.roi_pooling_param
        self.bins, self.scale = (param.pooled_h, param.pooled_w), param.spatial_scale
        if min(self.bins) < 1:
            self.fail(f"roi_pooling_param needs pooled_h and pooled_w of at least 1, found {self.bins}")
        if not self.scale > 0:
            self.fail(f"roi_pooling_param needs a spatial_scale above 0, found {self.scale}")

    def reshape(self, bottom, top):
        features, rois = bottom
        check_shapes(self, features, rois)
        top[0].reshape(rois.shape[0], features.shape[1], *self.bins)

    def forward(self, bottom, top):
        features, rois = bottom
        try:
            top[0].tensor, self.argmax = roi_pool_forward(
                features.stored, rois.tensor.reshape(-1, 5), *self.bins, self.scale, self.needs_backward)
        except ValueError as error:
            self.fail(str(error))

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            assert self.argmax is not None
            bottom[0].grad = roi_pool_backward(top[0].grad, self.argmax, bottom[1].tensor.reshape(-1, 5),
                                               bottom[0].shape, self.scale)
