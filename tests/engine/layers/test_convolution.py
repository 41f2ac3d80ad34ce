"""Convolution against loops over every output value and every tap."""
import numpy as np
import pytest
import torch
from layer_checker import Runner, check, randn, refused


def convolve(x, weight, bias, kernel, stride, pad, dilation, group):
    """x (N, C, *spatial); weight (O, C / group, *kernel)."""
    lacking = [max(0, dilation[i] * (kernel[i] - 1) + 1 - x.shape[2 + i] - 2 * pad[i]) for i in range(len(kernel))]
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p + more) for p, more in zip(pad, lacking, strict=True))])
    sizes = [(padded.shape[2 + i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(len(kernel))]
    outputs, inputs = weight.shape[:2]
    top = np.zeros((x.shape[0], outputs, *sizes))
    for n, o, *place in np.ndindex(top.shape):
        first = o // (outputs // group) * inputs
        total = bias[o]
        for c, *tap in np.ndindex(inputs, *kernel):
            where = tuple(place[i] * stride[i] + tap[i] * dilation[i] for i in range(len(kernel)))
            total += weight[(o, c, *tap)] * padded[(n, first + c, *where)]
        top[(n, o, *place)] = total
    return top


CASES = {
    "plain": ("num_output: 4 kernel_size: 3", (2, 3, 6, 5), (4, 3, 3, 3), {}),
    "rectangles": ("num_output: 3 kernel_h: 3 kernel_w: 2 pad_h: 1 pad_w: 0 stride_h: 2 stride_w: 3",
                   (2, 4, 7, 8), (3, 4, 3, 2), {"pad": (1, 0), "stride": (2, 3)}),
    "groups": ("num_output: 6 kernel_size: 2 group: 2 pad: 1", (3, 4, 5, 2), (6, 2, 2, 2), {"pad": (1, 1), "group": 2}),
    "dilation": ("num_output: 2 kernel_size: 2 kernel_size: 3 dilation: 3 dilation: 1 stride: 2",
                 (1, 3, 8, 7), (2, 3, 2, 3), {"dilation": (3, 1), "stride": (2, 2)}),
    "one axis": ("num_output: 2 kernel_size: 3 stride: 2 pad: 1", (2, 3, 8), (2, 3, 3), {"pad": (1,), "stride": (2,)}),
    "three axes": ("num_output: 2 kernel_size: 2 pad: 0 pad: 1 pad: 0 force_nd_im2col: true",
                   (1, 2, 4, 3, 5), (2, 2, 2, 2, 2), {"pad": (0, 1, 0)}),
    "four axes": ("num_output: 2 kernel_size: 2 stride: 2 pad: 0 pad: 1 pad: 0 pad: 0 group: 2",
                  (1, 6, 4, 3, 5, 2), (2, 3, 2, 2, 2, 2), {"pad": (0, 1, 0, 0), "stride": (2,) * 4, "group": 2}),
    "a window that lacks a row": ("num_output: 3 kernel_size: 3 stride: 2", (1, 4, 2, 5), (3, 4, 3, 3),
                                  {"stride": (2, 2)}),
    "windows that lack pixels": ("num_output: 2 kernel_size: 4 dilation: 2 stride: 3 pad: 1", (1, 3, 6, 4, 5),
                                 (2, 3, 4, 4, 4), {"stride": (3,) * 3, "dilation": (2,) * 3, "pad": (1,) * 3}),
}


@pytest.mark.parametrize("case", CASES)
def test_convolution(case):
    text, shape, weight, settings = CASES[case]
    axes = len(shape) - 2
    window = {"stride": (1,) * axes, "pad": (0,) * axes, "dilation": (1,) * axes, "group": 1, **settings}
    check(f"type: 'Convolution' convolution_param {{ {text} }}", [randn(*shape)],
          lambda x, w, b: convolve(x, w, b, weight[2:], **window), blobs=[randn(*weight), randn(weight[0], seed=1)])


def test_without_bias():
    check("type: 'Convolution' convolution_param { num_output: 4 kernel_size: 1 bias_term: false }",
          [randn(3, 5, 2, 6)], lambda x, w: np.einsum("nchw,oc->nohw", x, w[:, :, 0, 0]), blobs=[randn(4, 5, 1, 1)])


def test_axes_before_the_channels_are_independent_inputs():
    def oracle(x, w, b):
        return convolve(x.reshape(-1, 4, 7), w, b, (2,), (1,), (0,), (1,), 1).reshape(len(x), 3, 5, 6)
    check("type: 'Convolution' convolution_param { num_output: 5 kernel_size: 2 axis: 2 }", [randn(2, 3, 4, 7)],
          oracle, blobs=[randn(5, 4, 2), randn(5)])


@pytest.mark.parametrize("settings, shape", [("axis: -1", (2, 3, 4)), ("axis: 1 kernel_size: 1", (3, 4))])
def test_without_spatial_axes(settings, shape):
    """Every row of channels separately, like an InnerProduct."""
    check(f"type: 'Convolution' convolution_param {{ num_output: 6 group: 2 {settings} }}", [randn(*shape)],
          lambda x, w, b: np.concatenate([x[..., :2] @ w[:3].T, x[..., 2:] @ w[3:].T], -1) + b,
          blobs=[randn(6, 2), randn(6)])
    check(f"type: 'Deconvolution' convolution_param {{ num_output: 5 {settings} }}", [randn(*shape)],
          lambda x, w, b: x @ w + b, blobs=[randn(4, 5), randn(5)])


def test_several_bottoms_share_the_weights():
    def oracle(a, b, w, bias):
        return tuple(convolve(x, w, bias, (2, 3), (1, 1), (0, 0), (1, 1), 1) for x in (a, b))
    check("type: 'Convolution' convolution_param { num_output: 3 kernel_h: 2 kernel_w: 3 }",
          [randn(2, 4, 3, 5), randn(2, 4, 3, 5, seed=1)], oracle, blobs=[randn(3, 4, 2, 3), randn(3)], num_tops=2)


def test_only_the_wanted_gradients_are_computed(monkeypatch):
    masks = []
    real = torch.ops.aten.convolution_backward
    monkeypatch.setattr(torch.ops.aten, "convolution_backward",
                        lambda *arguments: masks.append(arguments[-1]) or real(*arguments))
    runner = Runner("type: 'Convolution' convolution_param { num_output: 2 kernel_size: 1 }", [randn(2, 3, 4, 5)])
    diff = [np.ones_like(value) for value in runner.forward()]
    runner.backward(diff, [False])
    runner.layer.param_propagate_down = [False, False]
    runner.backward(diff, [True])
    runner.backward(diff, [False])
    assert masks == [[False, True, True], [True, False, False]]


def test_the_top_is_channels_last_for_the_next_layer():
    runner = Runner("type: 'Convolution' convolution_param { num_output: 2 kernel_size: 1 }", [randn(2, 3, 4, 5)])
    runner.forward()
    assert runner.top[0].tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("settings, shape, match", [
    ("kernel_size: 3", (2, 3, 6, 5), "num_output"),
    ("num_output: 2", (2, 3, 6, 5), "kernel_size must be given"),
    ("num_output: 2 kernel_size: 3 stride: 0", (2, 3, 6, 5), "stride"),
    ("num_output: 2 kernel_size: 3 kernel_h: 3", (2, 3, 6, 5), "kernel_h"),
    ("num_output: 2 kernel_h: 3 kernel_w: 3", (2, 3, 6), "kernel_h"),
    ("num_output: 2 kernel_size: 3 kernel_size: 2", (2, 3, 6, 5, 4), "one for each of 3 axes"),
    ("num_output: 2 kernel_size: 3 group: 2", (2, 3, 6, 5), "group 2"),
    ("num_output: 3 kernel_size: 3 group: 2", (2, 4, 6, 5), "group 2"),
    ("num_output: 2 kernel_size: 7", (2, 3, 6, 5), "does not fit"),
    ("num_output: 2 kernel_size: 4 stride: 2", (1, 3, 2, 5), "does not fit"),
    ("num_output: 2 kernel_size: 3 axis: 4", (2, 3, 6, 5), "axis 4"),
])
def test_bad_parameters(settings, shape, match):
    refused(f"type: 'Convolution' convolution_param {{ {settings} }}", [shape], match)


def test_bad_bottoms():
    text = "type: 'Convolution' convolution_param { num_output: 2 kernel_size: 1 }"
    refused(text, [(2, 3, 6, 5), (2, 3, 6, 4)], "one shape", num_tops=2)
    refused(text, [(2, 3, 6, 5), (2, 3, 6, 5)], "as many tops", num_tops=1)
    runner = Runner(text, [randn(2, 3, 4, 5)])
    runner.bottom[0].reshape(2, 5, 4, 3)
    with pytest.raises(ValueError, match="3 channels"):
        runner.forward()
