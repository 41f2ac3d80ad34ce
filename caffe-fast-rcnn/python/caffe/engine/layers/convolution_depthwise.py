"""ConvolutionDepthwise, also called DepthwiseConvolution: one filter per channel."""
from __future__ import annotations

from ..bases.convolving import ConvolvingLayer
from ..layer import register


@register("ConvolutionDepthwise")
class ConvolutionDepthwise(ConvolvingLayer):
    """Depthwise convolution: one filter per channel.

    top[n, c, y] = bias[c] + sum over t of weight[c, 0, t] bottom[n, c, stride y - pad + dilation t]

    bottoms  one or more of the same shape (num, C, *spatial); they share the weights
    tops     one per bottom: (num, C, *output size of a Convolution)
    blobs    weight (C, 1, *kernel), bias (C) unless `bias_term: false`
    param    convolution_param, as in Convolution; num_output must be C, and so must group if it is given

    Equivalent to a Convolution with group C and the same weights.
    Howard et al., "MobileNets", 2017. Source: src/caffe/layers/conv_dw_layer.cpp of the MobileNet forks.
    """

    needs_group = False

    def setup(self, bottom, top):
        param = self.param.convolution_param
        channels = bottom[0].shape[self.axis(param.axis, len(bottom[0].shape))]
        counts = {param.num_output, param.group if self.needs_group or param.HasField("group") else channels}
        if counts != {channels}:
            self.fail(f"num_output and group must be the number of channels, {channels}; found num_output "
                      f"{param.num_output} and group {param.group}")
        param.group = channels
        super().setup(bottom, top)


@register("DepthwiseConvolution")
class DepthwiseConvolution(ConvolutionDepthwise):
    """ConvolutionDepthwise under its other common name; here group is required.

    param    convolution_param, as in Convolution; num_output and group must be the number of channels
    """

    needs_group = True
