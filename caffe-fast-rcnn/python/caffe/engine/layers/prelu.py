"""PReLU: a ReLU with a learned negative slope."""
from __future__ import annotations

import torch

from ...proto import caffe_pb2
from ..bases.broadcast import gather_sum, spread
from ..blob import Blob
from ..fillers import fill
from ..layer import Layer, register


@register("PReLU")
class PReLU(Layer):
    """ReLU with a learned negative slope: top = max(bottom, 0) + slope min(bottom, 0)

    bottoms  (N, C, ...)
    tops     same shape
    blobs    slope (C), or () with `channel_shared: true`; 0.25 unless prelu_param.filler is given

    He et al. 2015; source: src/caffe/layers/prelu_layer.cpp.
    """

    exact_bottoms = exact_tops = 1
    runs_in_place = True
    backward_reads_tops = False

    def setup(self, bottom, top):
        param, shape = self.param.prelu_param, bottom[0].shape
        if len(shape) < 2:
            self.fail(f"expected a bottom of at least 2 axes, found shape {shape}")
        self.blobs.append(Blob() if param.channel_shared else Blob(shape[1]))
        quarter = caffe_pb2.FillerParameter(type="constant", value=0.25)
        fill(self.blobs[0], param.filler if param.HasField("filler") else quarter)

    def reshape(self, bottom, top):
        shape, slopes = bottom[0].shape, self.blobs[0].shape
        if len(shape) < 2 or (slopes and shape[1] != slopes[0]):
            self.fail(f"expected a bottom of at least 2 axes and {slopes} channels, found shape {shape}")
        self.slope_axis = 1 if slopes else 0
        top[0].reshape(*shape)

    def _slope(self, num_axes: int) -> torch.Tensor:
        return spread(self.blobs[0].tensor, self.slope_axis, num_axes)

    def forward(self, bottom, top):
        value = bottom[0].tensor
        top[0].tensor = value.where(value > 0, value * self._slope(value.dim()))

    def backward(self, top, propagate_down, bottom):
        gradient, value = top[0].grad, bottom[0].tensor
        if self.param_propagate_down[0]:
            below = gradient * value.clamp(max=0)
            self.accumulate(0, gather_sum(below, self.slope_axis, self.blobs[0].shape))
        if propagate_down[0]:
            bottom[0].grad = gradient.where(value > 0, gradient * self._slope(value.dim()))
