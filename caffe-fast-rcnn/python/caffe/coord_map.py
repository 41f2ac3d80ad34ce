"""Maps spatial coordinates between blobs of a NetSpec, and makes the Crop layer that aligns two of them.

Fully convolutional nets (Long et al. 2015) use it to crop an upsampled score map to the image:

    n.score = crop(n.upscore, n.data)

A map (axis, a, b) means x' = a x + b for every axis after `axis`. a and b are numbers, or arrays with one number
for each spatial axis; axis is None if the layers in between treat all axes alike.
"""
from __future__ import annotations

import numpy as np

from .errors import CaffeError
from .net_spec import Function, Top
from .net_spec import layers as L

PASS_THROUGH_LAYERS = ["AbsVal", "BatchNorm", "Bias", "BNLL", "Clip", "Dropout", "Eltwise", "ELU", "Exp", "Log", "LRN",
                       "MVN", "Power", "PReLU", "ReLU", "ReLU6", "Scale", "Sigmoid", "Split", "Swish", "TanH",
                       "Threshold"]
_OLD_FIELDS = {f"{name}_{axis}" for name in ("kernel", "stride", "pad") for axis in "hw"}

Map = tuple


class UndefinedMapException(CaffeError):
    """A layer without a coordinate map, such as InnerProduct."""


class AxisMismatchException(CaffeError):
    """Layers between two blobs disagree on their first spatial axis."""


class CropError(CaffeError, AssertionError, ValueError):
    """Two blobs that no crop can align: their scales differ, or the offset is negative or not an integer."""


def conv_params(fn: Function) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """(channel axis, stride, extent, pad) of a Convolution, Deconvolution, Pooling or Im2col.

    The extent is that of the dilated kernel: dilation (kernel_size - 1) + 1. Raises CropError for `_h` and `_w`
    settings and UndefinedMapException for global pooling.
    """
    settings = fn.params.get("convolution_param") or fn.params.get("pooling_param") or fn.params
    if found := sorted(_OLD_FIELDS & set(settings)):
        raise CropError(f"{fn.type_name}: maps of coordinates take no {', '.join(found)}; give kernel_size, stride and "
                        "pad, with a number for each axis where they differ")
    if settings.get("global_pooling") or "kernel_size" not in settings:
        raise UndefinedMapException(f"{fn.type_name} without kernel_size")
    kernel, stride, pad, dilation = (np.array(settings.get(name, default), ndmin=1) for name, default in
                                     (("kernel_size", 0), ("stride", 1), ("pad", 0), ("dilation", 1)))
    return settings.get("axis", 1), stride, (kernel - 1) * dilation + 1, pad


def crop_params(fn: Function) -> tuple[int, np.ndarray]:
    """(first cropped axis, offsets) of a Crop."""
    settings = fn.params.get("crop_param", fn.params)
    return settings.get("axis", 2), np.array(settings.get("offset", 0), ndmin=1)


def coord_map(fn: Function) -> Map:
    """The map from coordinates of a layer's bottom to those of its top. Raises UndefinedMapException."""
    if fn.type_name in ("Convolution", "Pooling", "Im2col"):
        axis, stride, extent, pad = conv_params(fn)
        return axis, 1 / stride, (pad - (extent - 1) / 2) / stride
    if fn.type_name == "Deconvolution":
        axis, stride, extent, pad = conv_params(fn)
        return axis, stride, (extent - 1) / 2 - pad
    if fn.type_name == "Crop":
        axis, offset = crop_params(fn)
        return axis - 1, 1, -offset
    if fn.type_name in PASS_THROUGH_LAYERS:
        return None, 1, 0
    raise UndefinedMapException(f"{fn.type_name} has no map of coordinates")


def compose(base_map: Map, next_map: Map) -> Map:
    """The map that applies next_map, then base_map. Raises AxisMismatchException."""
    base_axis, a1, b1 = base_map
    next_axis, a2, b2 = next_map
    if base_axis is not None and next_axis is not None and base_axis != next_axis:
        raise AxisMismatchException(f"axis {base_axis} and axis {next_axis}")
    return (next_axis if base_axis is None else base_axis), a1 * a2, a1 * b2 + b1


def inverse(coord_map: Map) -> Map:
    """The inverse map."""
    axis, a, b = coord_map
    return axis, 1 / a, -b / a


def _maps_from(top: Top) -> dict[Top, Map]:
    """The map to `top`'s coordinates from those of each blob that `top` is computed from by layers with a map.

    The nearest blob comes first.
    """
    maps: dict[Top, Map] = {top: (None, 1, 0)}
    queue = [top]
    for reached in queue:
        try:
            step = coord_map(reached.fn)
        except UndefinedMapException:
            continue
        bottoms = reached.fn.inputs[:1] if reached.fn.type_name == "Crop" else reached.fn.inputs
        for bottom in bottoms:
            if bottom not in maps:
                maps[bottom] = compose(maps[reached], step)
                queue.append(bottom)
    return maps


def coord_map_from_to(top_from: Top, top_to: Top) -> Map:
    """The map from coordinates of top_from to those of top_to, through a blob from which both are computed.

    Raises RuntimeError if there is no such blob, AxisMismatchException if axes do not agree.
    """
    from_maps = _maps_from(top_from)
    for top, to_map in _maps_from(top_to).items():
        if top in from_maps:
            return compose(to_map, inverse(from_maps[top]))
    raise RuntimeError("the blobs have no common source from which layers with a map of coordinates lead to both")


def crop(top_from: Top, top_to: Top) -> Top:
    """A Crop layer that crops top_from to the position and size of top_to. Raises CropError if no crop can."""
    axis, a, b = coord_map_from_to(top_from, top_to)
    if not np.all(np.asarray(a) == 1):
        raise CropError(f"scale mismatch on crop: one step of the first blob is {a} steps of the second")
    if np.any(np.asarray(b) > 0):
        raise CropError(f"cannot crop at a negative offset: the first blob begins {b} behind the second")
    if np.any(np.round(b) != b):
        raise CropError(f"cannot crop at an offset that is no whole number: {-np.asarray(b)}")
    offset = [int(number) for number in np.atleast_1d(-np.round(b))]
    return L.Crop(top_from, top_to, crop_param={"axis": 2 if axis is None else axis + 1, "offset": offset})
