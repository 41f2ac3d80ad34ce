"""An ONNX graph under construction, and the parts of it that layers and programs add."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import helper

from ..engine.blob import Blob

Shape = tuple[int, ...]
Dims = Sequence[int | str]      # shape of an input or output: lengths, and names of free axes


class Section(NamedTuple):
    """The nodes and constants that one layer, or a program around the net, has added to a graph."""

    title: str
    nodes: list[onnx.NodeProto]
    constants: dict[str, np.ndarray | Blob]


class Graph:
    """Nodes, constants and used names of a graph.

    inputs, outputs  the model's
    constants        arrays by name; parameters are the net's blobs
    reshapes         the shape before a Reshape, keyed by the name of its target
    varying          values with an axis whose length a layer decides at run time, and that axis
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.constants: dict[str, np.ndarray | Blob] = {}
        self.reshapes: dict[str, Shape] = {}
        self.varying: dict[str, int] = {}
        self._names: set[str] = set()
        self._weights: dict[tuple[int, Shape], str] = {}
        self._sections: list[tuple[str, int, int]] = []

    def begin_section(self, title: str) -> None:
        """Start a section: it contains all nodes and constants added from now on."""
        self._sections.append((title, len(self.nodes), len(self.constants)))

    def sections(self) -> Iterator[Section]:
        """The sections of the graph."""
        names = list(self.constants)
        ends = [*self._sections[1:], ("", len(self.nodes), len(names))]
        for (title, node, constant), (_, last_node, last_constant) in zip(self._sections, ends, strict=True):
            yield Section(title, self.nodes[node:last_node],
                          {name: self.constants[name] for name in names[constant:last_constant]})

    def unique(self, name: str) -> str:
        """Reserve a name, with a number appended if it is taken; returns it."""
        found, count = name, 1
        while found in self._names:
            count += 1
            found = f"{name}_{count}"
        self._names.add(found)
        return found

    def constant(self, array: np.ndarray, name: str) -> str:
        """Store a copy of an array; returns its name."""
        name = self.unique(name)
        self.constants[name] = np.array(array, order="C")
        return name

    def weight(self, blob: Blob, name: str) -> str:
        """Store a layer's blob; blobs that share values and shape are stored once. Returns its name."""
        key = id(blob._data), blob.shape
        if key not in self._weights:
            self._weights[key] = self.unique(name)
            self.constants[self._weights[key]] = blob
        return self._weights[key]


class Part:
    """Adds operations to a graph; `name` prefixes the names of their values."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name

    def nodes(self, op: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """Add an operation with `count` results; returns their names."""
        outputs = [self.graph.unique(f"{self.name}/{op}") for _ in range(count)]
        self.graph.nodes.append(helper.make_node(op, list(inputs), outputs, f"{outputs[0]}:node", **attributes))
        if any(value in self.graph.varying for value in inputs):
            self.graph.varying.update(dict.fromkeys(outputs, 0))
        return outputs

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add an operation with one result; returns its name."""
        return self.nodes(op, inputs, 1, **attributes)[0]

    def array(self, values: np.ndarray, name: str = "constant") -> str:
        """A constant array."""
        return self.graph.constant(values, f"{self.name}.{name}")

    def floats(self, values: ArrayLike) -> str:
        """A float32 constant."""
        return self.array(np.array(values, np.float32))

    def ints(self, *values: int) -> str:
        """An int64 constant with one axis."""
        return self.array(np.array(values, np.int64))

    def filled(self, shape: Sequence[int], value: float) -> str:
        """An array filled with a value, which the model stores only once."""
        return self.node("Expand", self.floats(value), self.ints(*shape))

    def as_ints(self, value: str) -> str:
        """The value truncated to int64."""
        return self.node("Cast", value, to=onnx.TensorProto.INT64)

    def as_floats(self, value: str) -> str:
        """The value as float32; booleans become 0 or 1."""
        return self.node("Cast", value, to=onnx.TensorProto.FLOAT)

    def as_flags(self, value: str) -> str:
        """The value as booleans: whether it is not 0."""
        return self.node("Cast", value, to=onnx.TensorProto.BOOL)

    def times(self, value: str, factor: float) -> str:
        """value * factor"""
        return value if factor == 1 else self.node("Mul", value, self.floats(factor))

    def plus(self, value: str, addend: float) -> str:
        """value + addend"""
        return value if addend == 0 else self.node("Add", value, self.floats(addend))

    def reduced(self, op: str, value: str, axes: Sequence[int] | None = None, keepdims: bool = True) -> str:
        """A reduction over these axes, or over all axes to a scalar."""
        if axes is None:
            result = self.node(op, value, keepdims=0)
        else:
            result = self.node(op, value, self.ints(*axes), keepdims=int(keepdims))
        if axes is None or 0 in axes:
            self.graph.varying.pop(result, None)
        return result

    def total(self, value: str) -> str:
        """The sum of all elements."""
        return self.reduced("ReduceSum", value)

    def cut(self, value: str, start: Sequence[int], end: Sequence[int], axes: Sequence[int], step: int = 1) -> str:
        """value[start:end:step] along the axes."""
        return self.node("Slice", value, self.ints(*start), self.ints(*end), self.ints(*axes),
                         self.ints(*[step] * len(axes)))

    def typed(self, value: str, dtype: Any) -> str:
        """The value cast to a NumPy type."""
        return self.node("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def length(self, value: str, axis: int) -> str:
        """The length of an axis at run time, int64 of shape (1,)."""
        return self.node("Shape", value, start=axis, end=axis + 1)

    # ---- for programs that add operations around a net, see `to_onnx`
    def input(self, name: str, dtype: Any, dims: Dims) -> str:
        """Add an input to the model; returns its name."""
        name = self.graph.unique(name)
        self.graph.inputs.append(_info(name, dtype, dims))
        return name

    def reserve(self, *names: str) -> None:
        """Reserve the names of later outputs, so that the net's values get other names."""
        for name in names:
            self.graph.unique(name)

    def output(self, value: str, name: str, dtype: Any, dims: Dims) -> None:
        """Make a value an output of the model, under a reserved name."""
        self.graph.nodes.append(helper.make_node("Identity", [value], [name], f"{name}:node"))
        self.graph.outputs.append(_info(name, dtype, dims))


def _info(name: str, dtype: Any, dims: Dims) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), dims)
