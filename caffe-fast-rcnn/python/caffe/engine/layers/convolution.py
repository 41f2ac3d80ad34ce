"""Convolution."""
from __future__ import annotations

from ..bases.convolving import ConvolvingLayer
from ..layer import register


@register("Convolution")
class Convolution(ConvolvingLayer):
    """top[n, o, y] = bias[o] + sum over c, t of weight[o, c, t] bottom[n, c, stride y - pad + dilation t]

    bottoms  one or more of one shape (num, channels, *spatial); they share the weights
    tops     as many: (num, num_output, *(size + 2 pad - dilation (kernel - 1) - 1) / stride + 1), fractions dropped;
             where less than a stride is missing to the only window, it ends in zeros
    blobs    weight (num_output, channels / group, *kernel), bias (num_output) unless `bias_term: false`
    param    convolution_param: num_output, kernel_size | kernel_h, kernel_w, stride, pad, dilation, group, axis.
             `engine` and `force_nd_im2col` choose between ways of computing in BVLC and change nothing here.

    Source: src/caffe/layers/conv_layer.cpp.
    """
