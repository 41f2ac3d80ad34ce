"""Deconvolution against loops that add a kernel to the top for every bottom value."""
import numpy as np
import pytest
from layer_checker import check, randn, refused


def deconvolve(x, weight, bias, stride, pad, dilation, group):
    """x (N, C, *spatial); weight (C, O / group, *kernel)."""
    num, channels, *sizes = x.shape
    outputs, kernel = weight.shape[1], weight.shape[2:]
    full = [stride[i] * (sizes[i] - 1) + dilation[i] * (kernel[i] - 1) + 1 for i in range(len(kernel))]
    top = np.zeros((num, outputs * group, *full))
    for n, c, *source in np.ndindex(x.shape):
        first = c // (channels // group) * outputs
        for o, *tap in np.ndindex(weight.shape[1:]):
            place = [source[i] * stride[i] + tap[i] * dilation[i] for i in range(len(kernel))]
            top[(n, first + o, *place)] += x[(n, c, *source)] * weight[(c, o, *tap)]
    inside = [slice(border, length - border) for border, length in zip(pad, full, strict=True)]
    return top[(slice(None), slice(None), *inside)] + bias.reshape(-1, *(1,) * len(kernel))


@pytest.mark.parametrize("settings, shape, weight, stride, pad, dilation, group", [
    ("num_output: 3 kernel_size: 4 stride: 2 pad: 1", (2, 4, 5, 3), (4, 3, 4, 4), (2, 2), (1, 1), (1, 1), 1),
    ("num_output: 4 kernel_size: 2 stride: 3 group: 2", (1, 6, 3, 4), (6, 2, 2, 2), (3, 3), (0, 0), (1, 1), 2),
    ("num_output: 2 kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 2 pad_h: 0 pad_w: 1 dilation: 2",
     (2, 3, 4, 5), (3, 2, 2, 3), (1, 2), (0, 1), (2, 2), 1),
    ("num_output: 4 kernel_size: 2 stride: 2 stride: 1 stride: 1 stride: 3 pad: 1 group: 2",
     (1, 6, 2, 3, 4, 5), (6, 2, 2, 2, 2, 2), (2, 1, 1, 3), (1,) * 4, (1,) * 4, 2),
])
def test_deconvolution(settings, shape, weight, stride, pad, dilation, group):
    check(f"type: 'Deconvolution' convolution_param {{ {settings} }}", [randn(*shape)],
          lambda x, w, b: deconvolve(x, w, b, stride, pad, dilation, group),
          blobs=[randn(*weight), randn(weight[1] * group, seed=1)])


def test_bad_parameters():
    text = "type: 'Deconvolution' convolution_param {{ {} }}"
    refused(text.format("num_output: 3 kernel_size: 2 group: 2"), [(1, 4, 3, 2)], "group 2")
    refused(text.format("num_output: 2 kernel_size: 1 pad: 2"), [(1, 4, 3, 2)], "does not fit")
