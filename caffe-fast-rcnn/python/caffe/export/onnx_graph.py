"""An ONNX graph under construction, and one layer's part in it."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper

from ..engine.bases.broadcast import operand_axis
from ..engine.blob import Blob
from ..engine.layer import Layer

Shape = tuple[int, ...]


class Unsupported(Exception):
    """A layer's setting that cannot be converted; the message is the reason."""


class Graph:
    """Nodes, weights and the names in use.

    varying  values whose first dimension is only known at run time, because a Filter decides it
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.varying: set[str] = set()
        self._names: set[str] = set()
        self._weights: dict[tuple[int, Shape], str] = {}

    def unique(self, name: str) -> str:
        """The name, with a number appended if it is taken."""
        found, count = name, 1
        while found in self._names:
            count += 1
            found = f"{name}_{count}"
        self._names.add(found)
        return found

    def constant(self, array: np.ndarray, name: str) -> str:
        """Store an array; returns its name."""
        name = self.unique(name)
        self.initializers.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def weight(self, blob: Blob, name: str) -> str:
        """Store a layer's blob; blobs that share values and shape are stored once."""
        key = id(blob._data), blob.shape
        if key not in self._weights:
            self._weights[key] = self.constant(blob.data, name)
        return self._weights[key]


class Step:
    """A layer being added to the graph.

    inputs   names of the values of its bottoms
    bottoms  the bottom blobs, with the net's current shapes
    tops     the top blobs
    """

    def __init__(self, graph: Graph, layer: Layer, inputs: list[str], bottoms: list[Blob], tops: list[Blob]) -> None:
        self.graph, self.inputs, self.bottoms, self.tops = graph, inputs, bottoms, tops
        self.layer: Any = layer         # each converter knows the class of its layers
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

    def nodes(self, op: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """Add an operation with `count` results; returns their names."""
        outputs = [self.graph.unique(f"{self.layer.name}/{op}") for _ in range(count)]
        self.graph.nodes.append(helper.make_node(op, list(inputs), outputs, f"{outputs[0]}:node", **attributes))
        if not self.graph.varying.isdisjoint(inputs):
            self.graph.varying.update(outputs)
        return outputs

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add an operation with one result; returns its name."""
        return self.nodes(op, inputs, 1, **attributes)[0]

    def array(self, values: np.ndarray, name: str = "constant") -> str:
        """A constant array."""
        return self.graph.constant(values, f"{self.layer.name}.{name}")

    def floats(self, values: ArrayLike) -> str:
        """A constant of float32."""
        return self.array(np.array(values, np.float32))

    def ints(self, *values: int) -> str:
        """A constant list of int64."""
        return self.array(np.array(values, np.int64))

    def filled(self, shape: Sequence[int], value: float) -> str:
        """An array of one value, which the model stores once."""
        return self.node("Expand", self.floats(value), self.ints(*shape))

    def as_ints(self, value: str) -> str:
        """The value truncated to int64."""
        return self.node("Cast", value, to=onnx.TensorProto.INT64)

    def as_floats(self, value: str) -> str:
        """The value as float32; booleans become 0 or 1."""
        return self.node("Cast", value, to=onnx.TensorProto.FLOAT)

    def as_flags(self, value: str) -> str:
        """Where the value is not 0."""
        return self.node("Cast", value, to=onnx.TensorProto.BOOL)

    def times(self, value: str, factor: float) -> str:
        """value * factor"""
        return value if factor == 1 else self.node("Mul", value, self.floats(factor))

    def plus(self, value: str, addend: float) -> str:
        """value + addend"""
        return value if addend == 0 else self.node("Add", value, self.floats(addend))

    def varies(self, value: str) -> bool:
        """Whether the number of items in this value is known only at run time."""
        return value in self.graph.varying

    def reduced(self, op: str, value: str, axes: Sequence[int] | None = None, keepdims: bool = True) -> str:
        """A reduction over the axes, or over all of them to a scalar."""
        if axes is None:
            result = self.node(op, value, keepdims=0)
        else:
            result = self.node(op, value, self.ints(*axes), keepdims=int(keepdims))
        if axes is None or 0 in axes:
            self.graph.varying.discard(result)
        return result

    def total(self, value: str) -> str:
        """The sum of all values."""
        return self.reduced("ReduceSum", value)

    def reshaped(self, value: str, old: Shape, new: Shape) -> str:
        """The value reshaped; if a Filter decides the number of items, these stay separate."""
        if self.varies(value) and math.prod(old[1:]) % math.prod(new[1:]):
            self.refuse(f"behind a Filter items must stay apart, but {tuple(old)} becomes {tuple(new)}")
        return self.restored(value, old, new)

    def restored(self, value: str, old: Shape, new: Shape) -> str:
        """A value reshaped to the shape of a top."""
        if tuple(old) == tuple(new):
            return value
        return self.node("Reshape", value, self.ints(*((-1, *new[1:]) if new and self.varies(value) else new)))

    def cut(self, value: str, start: Sequence[int], end: Sequence[int], axes: Sequence[int], step: int = 1) -> str:
        """value[start:end:step] along the axes."""
        return self.node("Slice", value, self.ints(*start), self.ints(*end), self.ints(*axes),
                         self.ints(*[step] * len(axes)))

    def weight(self, index: int) -> str:
        """Parameter `index` of the layer."""
        return self.graph.weight(self.layer.blobs[index], f"{self.layer.name}.{('weight', 'bias')[index]}"
                                 if index < 2 else f"{self.layer.name}.blob{index}")

    def weights(self) -> list[str]:
        """All parameters of the layer."""
        return [self.weight(index) for index in range(len(self.layer.blobs))]

    def spread(self, value: str, blob: Blob, axis: int) -> str:
        """An operand of the bottom's axes from `axis` on, with axes of length 1 appended."""
        axis = operand_axis(self.layer, self.bottoms[0], blob, axis)
        behind = len(self.shape) - axis - len(blob.shape) if blob.shape else 0
        return self.reshaped(value, blob.shape, (*blob.shape, *(1,) * behind))

    def scan(self, body: Callable[[list[str], list[str]], tuple[list[str], list[str]]], states: Sequence[str],
             sequences: Sequence[str]) -> list[str]:
        """Run a body over the first axis of sequences of float32; returns the last states and the stacked outputs.

        body(states, slices) adds the nodes of one step and returns its new states and its outputs.
        """
        outer, self.graph.nodes = self.graph.nodes, []
        inputs = [self.graph.unique(f"{self.layer.name}/slice") for _ in (*states, *sequences)]
        try:
            new_states, outputs = body(inputs[:len(states)], inputs[len(states):])
            results = [*new_states, *(self.node("Identity", output) for output in outputs)]     # no name twice
        finally:
            inner, self.graph.nodes = self.graph.nodes, outer
        begin, end = ([helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names]
                      for names in (inputs, results))
        return self.nodes("Scan", [*states, *sequences], len(results), num_scan_inputs=len(sequences),
                          body=helper.make_graph(inner, f"{self.layer.name}/body", begin, end))

    def refuse(self, reason: str) -> NoReturn:
        """Raise Unsupported with the reason why this layer has no conversion."""
        raise Unsupported(reason)

    # ---- for the model
    def makes(self, name: str) -> bool:
        """Whether this value is computed by this step's nodes; otherwise it is passed on or a constant."""
        return any(name in node.output for node in self.graph.nodes[self._first:])

    def rename(self, old: str, new: str) -> None:
        """Rename a result of this step's nodes; the name must be free."""
        if self.varies(old):
            self.graph.varying.add(new)
        for node in self.graph.nodes[self._first:]:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    if name == old:
                        names[index] = new


Converter = Callable[[Step], list[str]]
CONVERTERS: dict[str, Converter] = {}


def converts(*types: str) -> Callable[[Callable], Callable]:
    """Decorator: registers the function that adds layers of these types to a graph.

    It takes a Step and returns the name of the top's value, or a list of the names of all tops.
    """
    def decorate(function: Callable[[Step], str | list[str]]) -> Callable:
        for name in types:
            if name in CONVERTERS:
                raise ValueError(f"layer type '{name}' has a conversion already")
            CONVERTERS[name] = lambda step: found if isinstance(found := function(step), list) else [found]
        return function
    return decorate
