"""ONNX conversions of layers with sliding windows: convolution, pooling, local response normalisation."""
from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from ..engine.bases.pooling import Pool
from ..engine.bases.windows import Window
from .onnx_graph import Shape, Step, converts

_LOWEST = float(np.finfo(np.float32).min)       # -FLT_MAX, Caffe's maximum of a window without pixels


def _geometry(window, lacking: Sequence[int]) -> dict:
    """The attributes of a convolution; `lacking` zeros are added after each axis, in addition to the padding."""
    behind = [pad + more for pad, more in zip(window.pad, lacking, strict=True)]
    return {"kernel_shape": window.kernel, "strides": window.stride, "dilations": window.dilation,
            "pads": [*window.pad, *behind]}


@converts("Convolution", "ConvolutionDepthwise", "DepthwiseConvolution", "Deconvolution")
def convolution(step: Step):
    layer, axis = step.layer, step.layer.channel_axis
    op = "ConvTranspose" if layer.transposed else "Conv"
    folded = (math.prod(step.shape[:axis]), *step.shape[axis:])
    result = (folded[0], *step.top_shape[axis:])
    window, sizes, (weight, *bias) = layer.window, step.shape[axis + 1:], step.weights()
    if not sizes:           # ONNX needs at least one spatial axis
        window, sizes, folded, result = Window((1,), (1,), (0,), (1,)), (1,), (*folded, 1), (*result, 1)
        shape = layer.blobs[0].shape
        weight = step.reshaped(weight, shape, (*shape, 1))
    lacking = [0] * len(sizes) if layer.transposed else window.lacking(sizes)
    tops = []
    for value in step.inputs:
        found = step.node(op, step.reshaped(value, step.shape, folded), weight, *bias,
                          group=layer.param.convolution_param.group, **_geometry(window, lacking))
        tops.append(step.restored(found, result, step.top_shape))
    return tops


@converts("Im2col")
def im2col(step: Step):
    """A convolution whose kernels each select one tap of one channel."""
    layer, axis = step.layer, step.layer.channel_axis
    taps, channels = math.prod(layer.window.kernel), step.shape[axis]
    kernels = np.tile(np.eye(taps, dtype=np.float32).reshape(taps, 1, *layer.window.kernel),
                      (channels, 1, *(1,) * len(layer.window.kernel)))
    folded = (math.prod(step.shape[:axis]), *step.shape[axis:])
    found = step.node("Conv", step.reshaped(step.inputs[0], step.shape, folded), step.array(kernels), group=channels,
                      **_geometry(layer.window, layer.window.lacking(step.shape[axis + 1:])))
    return step.restored(found, (folded[0], *step.top_shape[axis:]), step.top_shape)


# ---------------------------------------------------------------------------------------------- pooling
def _is_free(step: Step) -> bool:
    """Whether the bottom's height or width is only known at run time."""
    return not {2, 3}.isdisjoint(step.free[0])


def _pads(step: Step, pool: Pool, shape: Shape) -> list[int]:
    """Padding [top, left, bottom, right] with which rounding down gives Caffe's windows."""
    if _is_free(step):
        return _pads_of_any_size(step, pool)
    sizes = pool.output_size(*shape[2:])
    behind = [max(0, (sizes[i] - 1) * pool.stride[i] + pool.kernel[i] - shape[2 + i] - pool.pad[i]) for i in (0, 1)]
    return [*pool.pad, *behind]


def _pads_of_any_size(step: Step, pool: Pool) -> list[int]:
    """`_pads` for a free image size: enough padding for a window at an incomplete last stride."""
    rest = [stride - 1 if pool.ceil else 0 for stride in pool.stride]
    if any(pool.pad) and any(pool.pad[i] + rest[i] >= pool.kernel[i] for i in (0, 1)):
        step.refuse("at some sizes of the image Caffe drops its last window, because it lies in the padding")
    return [*pool.pad, *(pool.pad[i] + rest[i] for i in (0, 1))]


def _padded(step: Step, value: str, pads: list[int], fill: float) -> str:
    everywhere = step.ints(0, 0, *pads[:2], 0, 0, *pads[2:])
    return step.node("Pad", value, everywhere, step.floats(fill))


def max_pool(step: Step, value: str, pool: Pool, shape: Shape, places: bool = False) -> list[str]:
    """The maximum of each window, and optionally its position y W + x."""
    pads, size, origin = _pads(step, pool, shape), shape[2:], [0, 0]
    if any(pad >= kernel for pad, kernel in zip(pads, pool.kernel * 2, strict=True)):
        size, origin = (shape[2] + pads[0] + pads[2], shape[3] + pads[1] + pads[3]), pads[:2]
        value, pads = _padded(step, value, pads, _LOWEST), [0] * 4
    found = step.nodes("MaxPool", [value], 1 + places, kernel_shape=pool.kernel, strides=pool.stride, pads=pads)
    if places:
        pixel = step.node("Mod", found[1], step.ints(math.prod(size)))
        found[1] = step.as_floats(pixel if size == shape[2:] else _inside(step, pixel, size, origin, shape[2:]))
    return found


def _inside(step: Step, pixel: str, size: Shape, origin: list[int], inner: Shape) -> str:
    """Positions y W + x in a padded image as positions in the image that begins at `origin`; -1 in the padding."""
    ends = []
    places = [step.node("Div", pixel, step.ints(size[1])), step.node("Mod", pixel, step.ints(size[1]))]
    for axis in (0, 1):
        places[axis] = step.node("Sub", places[axis], step.ints(origin[axis]))
        ends += [step.node("GreaterOrEqual", places[axis], step.ints(0)),
                 step.node("Less", places[axis], step.ints(inner[axis]))]
    is_inside = functools.reduce(functools.partial(step.node, "And"), ends)
    place = step.node("Add", step.node("Mul", places[0], step.ints(inner[1])), places[1])
    return step.node("Where", is_inside, place, step.ints(-1))


def average_pool(step: Step, value: str, pool: Pool, shape: Shape) -> str:
    """The sum of each window over its area within image and padding."""
    pads = _pads(step, pool, shape)
    if all(behind <= pad for pad, behind in zip(pads[:2], pads[2:], strict=True)):
        return step.node("AveragePool", value, kernel_shape=pool.kernel, strides=pool.stride, pads=pads,
                         count_include_pad=1)
    means = step.node("AveragePool", _padded(step, value, pads, 0), kernel_shape=pool.kernel, strides=pool.stride)
    if _is_free(step):
        return step.node("Div", means, _covered(step, value, pool, pads))
    lengths = [np.array([_window_length(pool, axis, shape, index) for index in range(count)])
               for axis, count in enumerate(pool.output_size(*shape[2:]))]
    with np.errstate(divide="ignore"):      # a window beyond the image has no area; its mean is NaN, as in Caffe
        factors = math.prod(pool.kernel) / np.outer(*lengths)
    return step.node("Mul", means, step.array(factors.astype(np.float32), "areas"))


def _covered(step: Step, value: str, pool: Pool, pads: list[int]) -> str:
    """The fraction of each window that lies within image and padding."""
    plane = step.node("Concat", step.ints(1, 1), step.node("Shape", value, start=2), axis=0)
    area = _padded(step, step.node("Expand", step.floats(1), plane), [*pool.pad, *pool.pad], 1)
    rest = [0, 0, *(behind - pad for pad, behind in zip(pads[:2], pads[2:], strict=True))]
    return step.node("AveragePool", _padded(step, area, rest, 0), kernel_shape=pool.kernel, strides=pool.stride)


def _window_length(pool: Pool, axis: int, shape: Shape, index: int) -> int:
    start = index * pool.stride[axis] - pool.pad[axis]
    return min(start + pool.kernel[axis], shape[2 + axis] + pool.pad[axis]) - start


@converts("Pooling")
def pooling(step: Step):
    layer, value = step.layer, step.inputs[0]
    if layer.param.pooling_param.global_pooling and _is_free(step) and len(step.tops) == 1:
        return _pool_of_everything(step)
    if layer.method == "MAX":
        return max_pool(step, value, layer.pool, step.shape, places=len(step.tops) > 1)
    if layer.method == "AVE":
        return average_pool(step, value, layer.pool, step.shape)
    squares = average_pool(step, step.node("Mul", value, value), layer.pool, step.shape)
    means = average_pool(step, value, layer.pool, step.shape)
    zero = step.floats(0)
    return step.node("Where", step.node("Greater", means, zero), step.node("Div", squares, means), zero)


def _pool_of_everything(step: Step) -> str:
    value = step.inputs[0]
    if step.layer.method == "STOCHASTIC":
        step.refuse("its global window has no fixed size")
    return step.reduced("ReduceMax" if step.layer.method == "MAX" else "ReduceMean", value, [2, 3])


@converts("SPP")
def spp(step: Step):
    levels = []
    for pool in step.layer.pools:
        found = average_pool(step, step.inputs[0], pool, step.shape) if step.layer.method == "AVE" else \
            max_pool(step, step.inputs[0], pool, step.shape)[0]
        levels.append(found)
    if len(levels) == 1:
        return levels[0]
    return step.node("Concat", *(step.node("Flatten", level, axis=1) for level in levels), axis=1)


@converts("LRN")
def lrn(step: Step):
    param, value = step.layer.param.lrn_param, step.inputs[0]
    if step.layer.across:
        return step.node("LRN", value, size=param.local_size, alpha=param.alpha, beta=param.beta, bias=param.k)
    window = Pool((param.local_size,) * 2, pad=(param.local_size // 2,) * 2)
    means = average_pool(step, step.node("Mul", value, value), window, step.shape)
    scale = step.plus(step.times(means, param.alpha), 1)
    return step.node("Mul", value, step.node("Pow", scale, step.floats(-param.beta)))
