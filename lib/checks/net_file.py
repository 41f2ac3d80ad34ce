"""What can be read from the prototxt of a net without making the net."""
from __future__ import annotations

import os
from typing import Any

from utils import prototxt
from utils.layer_params import allowed_border, anchor_layout, class_count, parse_param_str

_ANCHOR_LAYERS = ("AnchorTargetLayer", "ProposalLayer")
_CLASS_LAYERS = ("RoIDataLayer", "OHEMDataLayer", "ProposalTargetLayer")


class NetFile:
    """A prototxt and the questions that are asked about its layers."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = path
        self.layers = list(prototxt.read_net(path).layer)
        self.param_problems: list[str] = []         # of `param_str`; where there are some, ask nothing else
        self._params = {layer.name: self._read_param_str(layer) for layer in self.layers}
        self._maker = {top: layer for layer in self.layers for top in layer.top if top not in layer.bottom}

    def problem(self, layer: Any, message: str) -> str:
        """'file:line: layer 'name': message'."""
        line = prototxt.line_of_layer(self.path, layer.name)
        return f"{self.path}:{line}: layer '{layer.name}': {message}"

    def _read_param_str(self, layer: Any) -> dict[str, Any]:
        """Entries of a `param_str`; none where it is not what it should be. Those of users' layers are not judged."""
        kind = layer.python_param.layer
        try:
            params = parse_param_str(layer.python_param.param_str)
            if kind in _ANCHOR_LAYERS:
                anchor_layout(params)
            if kind == "AnchorTargetLayer":
                allowed_border(params)
            if kind in _CLASS_LAYERS:
                class_count(params)
            return params
        except ValueError as error:
            if kind in _ANCHOR_LAYERS + _CLASS_LAYERS:
                self.param_problems.append(self.problem(layer, str(error)))
            return {}

    def params(self, layer: Any) -> dict[str, Any]:
        """The `param_str` of a Python layer as a dictionary."""
        return self._params[layer.name]

    def python_layers(self, *classes: str) -> list[Any]:
        """Layers run by one of these classes."""
        return [layer for layer in self.layers
                if layer.type == "Python" and layer.python_param.layer in classes]

    def stride(self, blob: str) -> int | None:
        """Pixels of the image from one cell of a blob to the next; None if it does not come from `data`."""
        stride = 1
        while blob in self._maker:
            layer = self._maker[blob]
            stride *= _layer_stride(layer)
            if not layer.bottom or blob == "data":
                break
            blob = layer.bottom[0]
        return stride if blob == "data" else None

    def anchor_layouts(self) -> list[tuple[Any, tuple]]:
        """Each layer that lays out anchors, with its (feat_stride, scales, ratios)."""
        return [(layer, anchor_layout(self.params(layer))) for layer in self.python_layers(*_ANCHOR_LAYERS)]

    def num_anchors(self) -> int | None:
        """Anchors at each position; None if no layer says so, or says it wrong."""
        layouts = [] if self.param_problems else self.anchor_layouts()
        return len(layouts[0][1][1]) * len(layouts[0][1][2]) if layouts else None


def _layer_stride(layer: Any) -> int:
    if layer.type == "Convolution":
        param = layer.convolution_param
        return param.stride[0] if param.stride else param.stride_h or 1
    if layer.type == "Pooling":
        return layer.pooling_param.stride_h or layer.pooling_param.stride
    return 1
