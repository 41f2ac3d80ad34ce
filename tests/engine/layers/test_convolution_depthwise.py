"""ConvolutionDepthwise and DepthwiseConvolution."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused


def depthwise(x, weight, bias, stride, pad, dilation):
    kernel = weight.shape[2:]
    sizes = [(x.shape[2 + i] + 2 * pad[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in (0, 1)]
    top = np.zeros((*x.shape[:2], *sizes))
    for n, c, i, j in np.ndindex(top.shape):
        top[n, c, i, j] = bias[c]
        for k, m in np.ndindex(kernel):
            y, z = i * stride[0] - pad[0] + k * dilation[0], j * stride[1] - pad[1] + m * dilation[1]
            if 0 <= y < x.shape[2] and 0 <= z < x.shape[3]:
                top[n, c, i, j] += weight[c, 0, k, m] * x[n, c, y, z]
    return top


CASES = {
    "plain": ("kernel_size: 3", (3, 3), (1, 1), (0, 0), (1, 1)),
    "stride and pad": ("kernel_size: 3 stride: 2 pad: 1", (3, 3), (2, 2), (1, 1), (1, 1)),
    "rectangular": ("kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 2 pad_h: 0 pad_w: 1",
                    (2, 3), (1, 2), (0, 1), (1, 1)),
    "dilated": ("kernel_size: 2 dilation: 2", (2, 2), (1, 1), (0, 0), (2, 2)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("layer_type, group", [("ConvolutionDepthwise", ""), ("ConvolutionDepthwise", "group: 3"),
                                               ("DepthwiseConvolution", "group: 3")])
def test_values_and_gradients(case, layer_type, group):
    text, kernel, *window = CASES[case]
    check(f"type: '{layer_type}' convolution_param {{ num_output: 3 {group} {text} }}", [randn(2, 3, 6, 5)],
          lambda x, weight, bias: depthwise(x, weight, bias, *window), blobs=[randn(3, 1, *kernel), randn(3)])


def test_without_bias_and_as_a_grouped_convolution():
    x, weight = randn(2, 4, 6, 5), randn(4, 1, 3, 3)
    tops = []
    for text in ("type: 'ConvolutionDepthwise' convolution_param { num_output: 4 kernel_size: 3 bias_term: false }",
                 "type: 'Convolution' convolution_param { num_output: 4 group: 4 kernel_size: 3 bias_term: false }"):
        runner = Runner(text, [x])
        runner.set_blobs([weight])
        tops.append(runner.forward()[0])
    np.testing.assert_array_equal(*tops)


def test_bad_input():
    refused("type: 'ConvolutionDepthwise' convolution_param { num_output: 6 kernel_size: 3 }", [(2, 3, 6, 5)],
            "number of channels, 3; found num_output 6")
    refused("type: 'ConvolutionDepthwise' convolution_param { num_output: 4 group: 2 kernel_size: 3 }", [(2, 4, 6, 5)],
            "group 2")
    refused("type: 'DepthwiseConvolution' convolution_param { num_output: 3 kernel_size: 3 }", [(2, 3, 6, 5)],
            "group 1")
    refused("type: 'ConvolutionDepthwise' convolution_param { num_output: 3 }", [(2, 3, 6, 5)], "kernel_size must be")
    refused("type: 'ConvolutionDepthwise' convolution_param { num_output: 3 kernel_size: 3 }", [(3,)], "axis 1")
