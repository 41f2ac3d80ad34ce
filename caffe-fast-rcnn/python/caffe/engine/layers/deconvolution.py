"""Deconvolution, also called transposed convolution."""
from __future__ import annotations

from ..bases.convolving import ConvolvingLayer
from ..layer import register


@register("Deconvolution")
class Deconvolution(ConvolvingLayer):
    """Transposed convolution, the gradient of a Convolution: every bottom value adds a weighted kernel to the top.

    bottoms  one or more of the same shape (num, channels, *spatial); they share the weights
    tops     one per bottom: (num, num_output, *(stride (size - 1) + dilation (kernel - 1) + 1 - 2 pad))
    blobs    weight (channels, num_output / group, *kernel), bias (num_output) unless `bias_term: false`
    param    convolution_param, as in Convolution

    Source: src/caffe/layers/deconv_layer.cpp.
    """

    transposed = True
