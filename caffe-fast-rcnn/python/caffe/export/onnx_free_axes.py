"""Inputs of other shapes than the net's, and axes whose lengths are only known when a model runs.

A net with free axes is converted at three sizes. What is the same in all three graphs does not depend on the size, the
targets of Reshape are expressed by the shapes before them, and layers with any other difference are refused.
"""
from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..engine.blob import Blob
from ..errors import CaffeError
from .onnx_part import Dims, Graph, Section, Shape
from .unsupported import ExportError, refuse

InputShapes = Mapping[str, Dims]        # "data": (1, 3, "height", "width")
_STEPS = ((0, 0), (33, 2), (70, 3))     # a free axis is longer by a + number * b: odd and even, none a multiple of 16
_REASON = "it cannot be converted for lengths of its axes that are not known: give them numbers"


class FreeAxes:
    """The shapes at which a net is converted: one, or three with free axes."""

    def __init__(self, net, wanted: InputShapes) -> None:
        self._net, self._blobs = net, {name: net._blobs[index] for name, index in zip(
            net.inputs, net._inputs, strict=True)}
        self.words: dict[str, int] = {}         # the names of free axes, and their current lengths
        for name, dims in wanted.items():
            self._read(name, dims)
        self._sizes = [self._at(wanted, step) for step in (_STEPS if self.words else _STEPS[:1])]
        self.shapes: list[list[Shape]] = []     # of each blob, at each size

    def _read(self, name: str, dims: Dims) -> None:
        if name not in self._blobs:
            raise ExportError(f"shapes: the net has no input '{name}', its inputs are {', '.join(self._blobs)}")
        shape = self._blobs[name].shape
        if len(dims) != len(shape):
            raise ExportError(f"shapes: input '{name}' has {len(shape)} axes, found {len(dims)}: {tuple(dims)}")
        for found, length in zip(dims, shape, strict=True):
            if isinstance(found, str):
                if self.words.setdefault(found, length) != length:
                    raise ExportError(f"shapes: '{found}' names axes of lengths {self.words[found]} and {length}")
            elif found < 1:
                raise ExportError(f"shapes: input '{name}' has an axis of length {found}; expected at least 1")

    def _at(self, wanted: InputShapes, step: tuple[int, int]) -> dict[str, Shape]:
        lengths = {word: length + step[0] + number * step[1]
                   for number, (word, length) in enumerate(self.words.items())}
        return {name: tuple(lengths[dim] if isinstance(dim, str) else dim for dim in dims)
                for name, dims in wanted.items()}

    @contextlib.contextmanager
    def sizes(self) -> Iterator[Iterator[None]]:
        """An iterator that gives the net one size after the other; behind the block it has its own shapes and inputs.

        Raises ExportError if the net does not take a size.
        """
        before = {name: np.array(self._blobs[name].data) for name in self._sizes[0]}
        try:
            self.shapes = [self._measured(size) for size in self._sizes]
            yield (self._reshape(size) for size in self._sizes)
        finally:
            if before:
                for name, values in before.items():
                    self._blobs[name].reshape(*values.shape)
                    self._blobs[name].data[...] = values
                self._net.reshape()

    def _reshape(self, size: Mapping[str, Shape]) -> None:
        for name, shape in size.items():
            self._blobs[name].reshape(*shape)
        if size:
            self._net.reshape()

    def _measured(self, size: Mapping[str, Shape]) -> list[Shape]:
        try:
            self._reshape(size)
        except CaffeError as error:
            shapes = ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in size.items())
            raise ExportError(f"the net does not take the shape {shapes}: {error}") from error
        return [blob.shape for blob in self._net._blobs]

    def free(self, index: int) -> frozenset[int]:
        """The axes of a blob whose lengths differ from size to size."""
        return frozenset(axis for axis, lengths in enumerate(zip(*(shapes[index] for shapes in self.shapes),
                                                                 strict=True)) if len({*lengths}) > 1)

    def dims(self, index: int, name: str) -> list[int | str]:
        """The shape of a blob, with names for free axes: those of inputs that are always as long, or new ones."""
        known = {self._lengths(word): word for word in self.words}
        return [known.get(lengths, f"{name} axis {axis}") if len({*lengths}) > 1 else lengths[0]
                for axis, lengths in enumerate(zip(*(shapes[index] for shapes in self.shapes), strict=True))]

    def _lengths(self, word: str) -> tuple[int, ...]:
        number = list(self.words).index(word)
        return tuple(self.words[word] + step[0] + number * step[1] for step in _STEPS)


def merged(graphs: Sequence[Graph]) -> Graph:
    """The first of some graphs of a net at several sizes, made independent of the size.

    Raises ExportError naming the layers that cannot be.
    """
    first, reasons = graphs[0], {}
    for sections in zip(*(graph.sections() for graph in graphs), strict=True):
        names = list(sections[0].constants)
        if any(_text(section) != _text(sections[0]) for section in sections[1:]):
            reasons[sections[0].title] = _REASON
            continue
        for name in names:
            values = [section.constants[name] for section in sections]
            if all(_are_equal(values[0], value) for value in values[1:]):
                continue
            target = _target([graph.reshapes.get(name) for graph in graphs], values)
            if target is None:
                reasons[sections[0].title] = _REASON
            else:
                first.constants[name] = target
    refuse("an ONNX model with free axes", reasons)
    return first


def _text(section: Section) -> tuple[list[bytes], list[str]]:
    return [node.SerializeToString(deterministic=True) for node in section.nodes], list(section.constants)


def _are_equal(one: np.ndarray | Blob, other: np.ndarray | Blob) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    return one is other


def _target(shapes: Sequence[tuple[Shape, Shape] | None], values: Sequence[np.ndarray | Blob]) -> np.ndarray | None:
    """What Reshape takes for all of these targets: 0 for an axis that stays as it is, -1 for one that follows."""
    if any(found is None for found in shapes) or len({len(value) for value in values}) > 1:
        return None
    target = []
    for axis, lengths in enumerate(zip(*values, strict=True)):
        kept = all(axis < len(old) and old[axis] == length
                   for (old, _), length in zip(shapes, lengths, strict=True))
        target.append(lengths[0] if len({*lengths}) == 1 else 0 if kept else -1)
    return np.array(target, np.int64) if target.count(-1) < 2 else None
