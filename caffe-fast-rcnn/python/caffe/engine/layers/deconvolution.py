"""Deconvolution, also called transposed convolution."""
from __future__ import annotations

from ..bases.convolving import ConvolvingLayer
from ..layer import register


@register("Deconvolution")
class Deconvolution(ConvolvingLayer):
    """The gradient of a Convolution, used forward: every bottom value adds a weighted kernel to the top.

    bottoms  one or more of one shape (num, channels, *spatial); they share the weights
    tops     as many: (num, num_output, *(stride (size - 1) + dilation (kernel - 1) + 1 - 2 pad))
    blobs    weight (channels, num_output / group, *kernel), bias (num_output) unless `bias_term: false`
    param    convolution_param, as of Convolution

    Source: src/caffe/layers/deconv_layer.cpp.
    """

    transposed = True
