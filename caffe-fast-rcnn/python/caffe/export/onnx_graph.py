"""A layer's part of an ONNX graph, and the registry of conversions."""
from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn

import onnx
from onnx import helper

from ..engine.bases.broadcast import operand_axis
from ..engine.blob import Blob
from ..engine.layer import Layer
from .onnx_part import Graph, Part, Shape


class Unsupported(Exception):
    """A layer has a setting that cannot be converted; the message is the reason."""


class Step(Part):
    """The conversion of one layer.

    inputs   names of the values of its bottoms
    bottoms  the bottom blobs, with the net's current shapes
    tops     the top blobs
    free     for each bottom, the axes whose length is only known at run time
    """

    def __init__(self, graph: Graph, layer: Layer, inputs: list[str], bottoms: list[Blob], tops: list[Blob],
                 free: Sequence[Collection[int]]) -> None:
        super().__init__(graph, layer.name)
        self.inputs, self.bottoms, self.tops, self.free = inputs, bottoms, tops, free
        self.layer: Any = layer         # Any, because each converter knows the class of its layers
        self._first = len(graph.nodes)

    # ---- for converters
    @property
    def shape(self) -> Shape:
        """The shape of the first bottom."""
        return self.bottoms[0].shape

    @property
    def top_shape(self) -> Shape:
        """The shape of the first top."""
        return self.tops[0].shape

    def varies(self, value: str) -> bool:
        """Whether this value's number of items is only known at run time."""
        return value in self.graph.varying

    def set_varying(self, *values: str, axis: int = 0) -> None:
        """Declare that the length of an axis of these values, their number of items, is only known at run time."""
        self.graph.varying.update(dict.fromkeys(values, axis))

    def reshaped(self, value: str, old: Shape, new: Shape) -> str:
        """The value reshaped; refused if it would mix items whose number a Filter decides."""
        if self.varies(value) and math.prod(old[1:]) % math.prod(new[1:]):
            self.refuse(f"after a Filter, items must stay separate, but {tuple(old)} becomes {tuple(new)}")
        return self.restored(value, old, new)

    def restored(self, value: str, old: Shape, new: Shape) -> str:
        """The value reshaped to a top's shape."""
        if tuple(old) == tuple(new):
            return value
        target = self.ints(*((-1, *new[1:]) if new and self.varies(value) else new))
        self.graph.reshapes[target] = tuple(old)
        return self.node("Reshape", value, target)

    def weight(self, index: int) -> str:
        """The layer's parameter `index`."""
        return self.graph.weight(self.layer.blobs[index], f"{self.name}.{('weight', 'bias')[index]}"
                                 if index < 2 else f"{self.name}.blob{index}")

    def weights(self) -> list[str]:
        """All parameters of the layer."""
        return [self.weight(index) for index in range(len(self.layer.blobs))]

    def spread(self, value: str, blob: Blob, axis: int) -> str:
        """An operand broadcast over the first bottom from `axis` on, with axes of length 1 appended."""
        axis = operand_axis(self.layer, self.bottoms[0], blob, axis)
        behind = len(self.shape) - axis - len(blob.shape) if blob.shape else 0
        return self.reshaped(value, blob.shape, (*blob.shape, *(1,) * behind))

    def scan(self, body: Callable[[list[str], list[str]], tuple[list[str], list[str]]], states: Sequence[str],
             sequences: Sequence[str]) -> list[str]:
        """Run a body over the first axis of float32 sequences; returns the final states and the stacked outputs.

        body(states, slices) adds the nodes of one step and returns the new states and the outputs.
        """
        outer, self.graph.nodes = self.graph.nodes, []
        inputs = [self.graph.unique(f"{self.name}/slice") for _ in (*states, *sequences)]
        try:
            new_states, outputs = body(inputs[:len(states)], inputs[len(states):])
            results = [*new_states, *(self.node("Identity", output) for output in outputs)]     # names must be unique
        finally:
            inner, self.graph.nodes = self.graph.nodes, outer
        begin, end = ([helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names]
                      for names in (inputs, results))
        return self.nodes("Scan", [*states, *sequences], len(results), num_scan_inputs=len(sequences),
                          body=helper.make_graph(inner, f"{self.name}/body", begin, end))

    def refuse(self, reason: str) -> NoReturn:
        """Raise Unsupported with the reason why this layer cannot be converted."""
        raise Unsupported(reason)

    # ---- for the model
    def makes(self, name: str) -> bool:
        """Whether one of this step's nodes computes this value; otherwise it is a constant or passed through."""
        return any(name in node.output for node in self.graph.nodes[self._first:])

    def rename(self, old: str, new: str) -> None:
        """Rename a result of this step's nodes; the new name must be unused."""
        if self.varies(old):
            self.graph.varying[new] = self.graph.varying[old]
        for node in self.graph.nodes[self._first:]:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    if name == old:
                        names[index] = new


Converter = Callable[[Step], list[str]]
CONVERTERS: dict[str, Converter] = {}        # except Python layers, see `python_layer`


def as_list(values: str | list[str]) -> list[str]:
    """The values of all tops as a list; a single value may come without one."""
    return values if isinstance(values, list) else [values]


def converts(*types: str) -> Callable[[Callable], Callable]:
    """Decorator: register the conversion of these layer types.

    The function takes a Step and returns the name of the top's value, or a list with the names of all tops' values.
    """
    def decorate(function: Callable[[Step], str | list[str]]) -> Callable:
        for name in types:
            if name in CONVERTERS:
                raise ValueError(f"layer type '{name}' has a conversion already")
            CONVERTERS[name] = lambda step: as_list(function(step))
        return function
    return decorate


def python_layer(step: Step) -> list[str]:
    """Convert a Python layer by the method `to_onnx(step)` of the user's class."""
    convert = getattr(step.layer.user, "to_onnx", None)
    if convert is None:
        step.refuse("its code is not ours; a method `to_onnx(self, step)` of its class can add it to a model")
    return as_list(convert(step))
