"""Normalize: L2 normalisation with a learned scale."""
from __future__ import annotations

import math

import torch

from ...proto import caffe_pb2
from ..blob import Blob
from ..fillers import fill
from ..layer import AutogradLayer, register


@register("Normalize")
class Normalize(AutogradLayer):
    """L2 normalisation over the channels of a pixel or over an image, with a learned scale.

    top = scale * bottom / sqrt(sum of bottom^2 + eps)

    bottoms  (N, C, ...)
    tops     same shape
    blobs    scale: (), or (C) with `channel_shared: false`; 1 unless norm_param.scale_filler is given
    param    norm_param: across_spatial (true: one sum per image, false: one per pixel), channel_shared (true),
             scale_filler, eps (1e-10)

    Liu et al., "ParseNet", 2015. Source: src/caffe/layers/normalize_layer.cpp of SSD, whose gradient is NaN for a scale
    of 0; here it is the derivative.
    """

    exact_bottoms = exact_tops = 1

    def setup(self, bottom, top):
        param, shape = self.param.norm_param, bottom[0].shape
        if len(shape) < 2:
            self.fail(f"expected a bottom of at least 2 axes (N, C, ...), found shape {shape}")
        if not (param.eps >= 0 and math.isfinite(param.eps)):
            self.fail(f"eps must be at least 0, found {param.eps}")
        self.blobs.append(Blob() if param.channel_shared else Blob(shape[1]))
        unit = caffe_pb2.FillerParameter(type="constant", value=1)
        fill(self.blobs[0], param.scale_filler if param.HasField("scale_filler") else unit)

    def reshape(self, bottom, top):
        shape, scales = bottom[0].shape, self.blobs[0].shape
        if len(shape) < 2 or (scales and shape[1] != scales[0]):
            self.fail(f"expected a bottom of at least 2 axes and {scales[0] if scales else 'any'} channels, "
                      f"found shape {shape}")
        top[0].reshape(*shape)

    def compute(self, *tensors: torch.Tensor) -> torch.Tensor:
        value, scale = tensors
        param = self.param.norm_param
        axes = tuple(range(1, value.dim())) if param.across_spatial else (1,)
        norm = (value.square().sum(axes, keepdim=True) + param.eps).sqrt()
        return value / norm * scale.reshape(-1, *(1,) * (value.dim() - 2))
