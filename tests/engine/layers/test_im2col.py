"""Im2col."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused


def columns(x, kernel, stride, pad, dilation):
    axes = range(len(kernel))
    lacking = [max(0, dilation[i] * (kernel[i] - 1) + 1 - x.shape[2 + i] - 2 * pad[i]) for i in axes]
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p + more) for p, more in zip(pad, lacking, strict=True))])
    sizes = [(padded.shape[2 + i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in axes]
    top = np.zeros((x.shape[0], x.shape[1], *kernel, *sizes))
    for n, c, *rest in np.ndindex(top.shape):
        tap, place = rest[:len(kernel)], rest[len(kernel):]
        where = tuple(place[i] * stride[i] + tap[i] * dilation[i] for i in axes)
        top[(n, c, *rest)] = padded[(n, c, *where)]
    return top.reshape(x.shape[0], -1, *sizes)


@pytest.mark.parametrize("settings, shape, window", [
    ("kernel_size: 3 stride: 2 pad: 1", (2, 3, 5, 6), ((3, 3), (2, 2), (1, 1), (1, 1))),
    ("kernel_size: 2 kernel_size: 3 dilation: 2 dilation: 1", (1, 2, 6, 7), ((2, 3), (1, 1), (0, 0), (2, 1))),
    ("kernel_size: 2 stride: 2 pad: 0 pad: 1 pad: 0", (1, 2, 4, 5, 6), ((2,) * 3, (2,) * 3, (0, 1, 0), (1,) * 3)),
    ("kernel_size: 3", (2, 3, 7), ((3,), (1,), (0,), (1,))),
    ("kernel_size: 3 stride: 2", (1, 3, 2, 5), ((3, 3), (2, 2), (0, 0), (1, 1))),
    ("kernel_size: 2", (1, 2, 4, 5, 3, 6), ((2,) * 4, (1,) * 4, (0,) * 4, (1,) * 4)),
])
def test_im2col(settings, shape, window):
    check(f"type: 'Im2col' convolution_param {{ {settings} }}", [randn(*shape)], lambda x: columns(x, *window))


def test_the_gradient_is_written_even_if_not_requested():
    runner = Runner("type: 'Im2col' convolution_param { kernel_size: 2 }", [randn(1, 2, 3, 4)])
    runner.backward([np.ones(top.shape) for top in runner.forward()], [False])
    assert runner.bottom[0].diff.all()


def test_bad_input():
    refused("type: 'Im2col'", [(1, 2, 3, 4)], "kernel_size must be given")
    refused("type: 'Im2col' convolution_param { kernel_size: 5 }", [(1, 2, 3, 4)], "does not fit")
    refused("type: 'Im2col' convolution_param { kernel_size: 1 }", [(1, 2)], "after the channel axis")
