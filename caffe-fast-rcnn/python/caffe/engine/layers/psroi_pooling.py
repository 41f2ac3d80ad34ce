"""PSROIPooling: position-sensitive RoI pooling."""
from __future__ import annotations

import torch

from ..bases.rois import RoiMeanLayer, check_shapes
from ..layer import register


@register("PSROIPooling")
class PSROIPooling(RoiMeanLayer):
    """The mean over each of group_size x group_size bins of every RoI, each bin reading its own channel.

    top[r, k, i, j] = mean over bin (i, j) of RoI r of feature channel (k group_size + i) group_size + j

    bottoms  features (N, output_dim group_size^2, H, W); RoIs (R, 5): batch index, x1, y1, x2, y2 (inclusive corners,
             in pixels of the input image); only the features receive a gradient
    tops     (R, output_dim, group_size, group_size)
    param    psroi_pooling_param: spatial_scale, the size of the features relative to the image; output_dim; group_size

    Corners are rounded half away from zero in the image, then scaled; a RoI is at least 0.1 pixels wide. A bin covers
    every pixel that it touches; a bin outside the feature map gives 0.
    Dai et al., "R-FCN", 2016. Source: src/caffe/layers/psroi_pooling_layer.cu of R-FCN.
    """

    has_own_channels = True

    def setup(self, bottom, top):
        param = self.param.psroi_pooling_param
        self.bins, self.scale = (param.group_size,) * 2, param.spatial_scale
        self.check_bins(self.scale)
        if param.output_dim < 1:
            self.fail(f"output_dim must be at least 1, found {param.output_dim}")

    def reshape(self, bottom, top):
        check_shapes(self, *bottom)
        wanted = self.param.psroi_pooling_param.output_dim * self.bins[0] ** 2
        if bottom[0].shape[1] != wanted:
            self.fail(f"output_dim times group_size^2 needs {wanted} channels, found shape {bottom[0].shape}")
        top[0].reshape(bottom[1].shape[0], self.param.psroi_pooling_param.output_dim, *self.bins)

    def weights(self, first, last, bins, length):
        start = _rounded(first) * self.scale
        size = ((_rounded(last) + 1) * self.scale - start).clamp(min=0.1) / bins
        index = torch.arange(bins, device=first.device, dtype=first.dtype)
        begin = (index * size[:, None] + start[:, None]).floor().clamp(0, length)[..., None]
        end = ((index + 1) * size[:, None] + start[:, None]).ceil().clamp(0, length)[..., None]
        pixel = torch.arange(length, device=first.device)
        return ((pixel >= begin) & (pixel < end)) / (end - begin).clamp(min=1)


def _rounded(value: torch.Tensor) -> torch.Tensor:
    """The values rounded to integers, halves away from zero."""
    whole = value.trunc()
    return whole + ((value - whole).abs() >= 0.5) * value.sign()
