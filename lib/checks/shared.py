"""Checks that the nets of a run agree in what they share: anchors, and layers with the same names.

Weights are matched to layers by name and shape. A different stride, padding or anchor scale changes neither, but
changes what the weights compute.
"""
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.message import Message

from caffe.proto.caffe_pb2 import TEST, TRAIN, LayerParameter
from checks.net_file import NetFile

# Settings that may differ: they feed data, only affect training or initial weights, or are checked elsewhere
_FREE = ("python_param", "input_param", "dummy_data_param", "dropout_param", "loss_param", "batch_norm_param",
         "reshape_param")
_INITIAL = ("weight_filler", "bias_filler", "filler")


def check_shared(train: Sequence[str | os.PathLike], test: Sequence[str | os.PathLike]) -> list[str]:
    """Problems of training and test nets that share weights: differing anchors or layer settings."""
    files = [*(NetFile(path, TRAIN) for path in train), *(NetFile(path, TEST) for path in test)]
    nets = [net for net in files if not net.param_problems]
    return [*_anchor_problems(nets), *_layer_problems(nets)]


def _anchor_problems(nets: Sequence[NetFile]) -> Iterator[str]:
    """Anchors are compared by value: the same number of different anchors would decode to other boxes."""
    layouts = [(net, *found) for net in nets for found in net.anchor_layouts()[:1]]
    for net, layer, layout in layouts[1:]:
        first, first_layer, expected = layouts[0]
        if layout != expected:
            yield net.problem(layer, f"feat_stride, scales and ratios are {layout}, those of layer "
                                     f"'{first_layer.name}' in {first.path} {expected}: all nets of a run must agree")


def _layer_problems(nets: Sequence[NetFile]) -> Iterator[str]:
    first: dict[str, tuple[NetFile, LayerParameter]] = {}
    for net in nets:
        for layer in net.layers:
            if not layer.name:
                continue
            other, expected = first.setdefault(layer.name, (net, layer))
            for key, found, wanted in _differences(layer, expected):
                yield net.problem(layer, f"{key} is {found}, in {other.path} {wanted}: all nets of a run must agree")


def _differences(layer: LayerParameter, expected: LayerParameter) -> Iterator[tuple[str, object, object]]:
    if layer.type == expected.type:
        names = {field.name for each in (layer, expected) for field, _ in each.ListFields()
                 if field.name.endswith("_param") and field.name not in _FREE}
        found, wanted = (_settings(each, sorted(names)) for each in (layer, expected))
        yield from ((key, found[key], wanted[key]) for key in found if found[key] != wanted[key])
    elif _computes(layer) and _computes(expected):
        yield "type", layer.type, expected.type


def _computes(layer: LayerParameter) -> bool:
    """Whether the layer is part of what all nets compute: not a data source, a loss, or user code."""
    return bool(layer.bottom) and layer.type not in ("Python", "Silence") and "Loss" not in layer.type


def _settings(layer: LayerParameter, names: Sequence[str]) -> dict[str, Any]:
    """The settings in these messages of a layer, defaults included."""
    settings: dict[str, Any] = {}
    for name in names:
        settings |= _scalars(getattr(layer, name))
    return _spelled_out(settings) if layer.type in ("Convolution", "Deconvolution", "Pooling") else settings


def _scalars(message: Message) -> dict[str, Any]:
    values = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type is None and field.name != "engine":
            values[field.name] = value if isinstance(value, int | float | str) else tuple(value)
        elif field.message_type is not None and field.name not in _INITIAL:
            values[field.name] = str(value)
    return values


def _spelled_out(settings: dict[str, Any]) -> dict[str, Any]:
    """Convert kernel_size, stride, pad and dilation to (height, width), whichever fields give them."""
    result = dict(settings)
    for key, default in (("kernel_size", 0), ("stride", 1), ("pad", 0), ("dilation", 1)):
        stem = "kernel" if key == "kernel_size" else key
        both = result.pop(key, default)
        both = both if isinstance(both, tuple) else (both,)
        sides = [result.pop(f"{stem}_{side}", 0) for side in "hw"]
        result[key] = tuple(side or both[min(index, len(both) - 1)] if both or side else default
                            for index, side in enumerate(sides))
    return result
