"""Convolution."""
from __future__ import annotations

from ..bases.convolving import ConvolvingLayer
from ..layer import register


@register("Convolution")
class Convolution(ConvolvingLayer):
    """Convolution over any number of spatial axes.

    top[n, o, y] = bias[o] + sum over c, t of weight[o, c, t] bottom[n, c, stride y - pad + dilation t]

    bottoms  one or more of the same shape (num, channels, *spatial); they share the weights
    tops     one per bottom: (num, num_output, *((size + 2 pad - dilation (kernel - 1) - 1) / stride + 1)), the quotient
             truncated; a bottom that is short by less than a stride still has one window, extended by zeros at the end
    blobs    weight (num_output, channels / group, *kernel), bias (num_output) unless `bias_term: false`
    param    convolution_param: num_output, kernel_size | kernel_h, kernel_w, stride, pad, dilation, group, axis.
             `engine` and `force_nd_im2col` select an implementation in BVLC Caffe and have no effect here

    Source: src/caffe/layers/conv_layer.cpp.
    """
