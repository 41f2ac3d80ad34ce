"""Converts CROP layers of V1 nets, which compute their own offsets, to Crop layers with an offset.

They come from the FCN branch (fully convolutional nets, Long et al. 2015) and align their two bottoms by the layers
that compute both. Source: src/caffe/layers/crop_layer.cpp of that branch.
"""
from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ...coord_map import AxisMismatchException, CropError, UndefinedMapException, crop
from ...net_spec import Function, Top
from ...proto.caffe_pb2 import LayerParameter, NetParameter
from ...proto.layer_settings import settings_field
from ..layer import LayerError


def align_crops(net: NetParameter, names: Collection[str]) -> None:
    """Set the offsets of the layers with these names, in place. Raises LayerError if no offset aligns the bottoms."""
    tops: dict[str, Top] = {name: Function("Input", (), {}).tops[0] for name in net.input}
    for layer in net.layer:
        if layer.name in names:
            _align(layer, tops)
        bottoms = tuple(tops[name] for name in layer.bottom if name in tops)
        function = Function(layer.type, bottoms, _settings(layer) | {"ntop": len(layer.top)})
        tops.update(zip(layer.top, function.tops, strict=True))


def _align(layer: LayerParameter, tops: dict[str, Top]) -> None:
    try:
        first, second = (tops[name] for name in layer.bottom)
        found = crop(first, second).fn.params["crop_param"]
    except (AxisMismatchException, CropError, KeyError, RuntimeError, UndefinedMapException, ValueError) as error:
        raise LayerError(f"layer '{layer.name}' (CROP): its bottoms cannot be aligned: {error}", layer.name) from None
    layer.crop_param.axis = found["axis"]
    layer.crop_param.offset.extend(found["offset"])


def _settings(layer: LayerParameter) -> dict[str, Any]:
    """The fields that are set in the layer type's own message."""
    field = settings_field(layer.type)
    if field is None or not layer.HasField(field):
        return {}
    return {entry.name: list(value) if hasattr(value, "append") else value
            for entry, value in getattr(layer, field).ListFields()}
