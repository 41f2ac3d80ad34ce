"""Input shapes other than the net's, and free axes, whose lengths are only known at run time.

A net with free axes is converted at three sizes. Whatever is the same in all three graphs does not depend on the size;
the targets of Reshape are expressed relative to the shapes before them; layers with any other difference are refused.
"""
from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..engine.blob import Blob
from ..errors import CaffeError
from .onnx_part import Dims, Graph, Section, Shape
from .unsupported import ExportError, refuse

InputShapes = Mapping[str, Dims]        # "data": (1, 3, "height", "width")
_GROWTH = ((0, 0), (33, 2), (70, 3))    # the n-th free axis grows by a + n b: odd and even, no multiples of 16
_REASON = "it cannot be converted for axes of any length: give them numbers"


class FreeAxes:
    """The input shapes at which a net is converted: one set, or three with free axes."""

    def __init__(self, net, wanted: InputShapes) -> None:
        self._net = net
        self._blobs = {name: net._blobs[index] for name, index in zip(net.inputs, net._inputs, strict=True)}
        current: dict[str, int] = {}            # the length of each named axis
        for name, dims in wanted.items():
            self._check(name, dims, current)
        self._lengths = {word: tuple(length + fixed + number * more for fixed, more in _GROWTH)
                         for number, (word, length) in enumerate(current.items())}
        self._sizes = [{name: tuple(self._lengths[dim][size] if isinstance(dim, str) else dim for dim in dims)
                        for name, dims in wanted.items()} for size in range(len(_GROWTH) if current else 1)]
        self.shapes: list[list[Shape]] = []     # at each size, of each blob

    def _check(self, name: str, dims: Dims, current: dict[str, int]) -> None:
        if name not in self._blobs:
            raise ExportError(f"shapes: the net has no input '{name}', its inputs are {', '.join(self._blobs)}")
        shape = self._blobs[name].shape
        if len(dims) != len(shape):
            raise ExportError(f"shapes: input '{name}' has {len(shape)} axes, found {len(dims)}: {tuple(dims)}")
        for found, length in zip(dims, shape, strict=True):
            if isinstance(found, str):
                if current.setdefault(found, length) != length:
                    raise ExportError(f"shapes: '{found}' names axes of lengths {current[found]} and {length}")
            elif found < 1:
                raise ExportError(f"shapes: input '{name}' has an axis of length {found}; expected at least 1")

    @contextlib.contextmanager
    def sizes(self) -> Iterator[Iterator[Mapping[str, Shape]]]:
        """Iterate over the sizes, reshaping the net to each; afterwards restore its shapes and inputs.

        Raises ExportError if the net does not support a size.
        """
        before = {name: np.array(self._blobs[name].data) for name in self._sizes[0]}
        try:
            self.shapes = [self._measured(size) for size in self._sizes]
            yield map(self._reshape, self._sizes)
        finally:
            self._reshape({name: values.shape for name, values in before.items()})
            for name, values in before.items():
                self._blobs[name].data[...] = values

    def _reshape(self, size: Mapping[str, Shape]) -> Mapping[str, Shape]:
        for name, shape in size.items():
            self._blobs[name].reshape(*shape)
        if size:
            self._net.reshape()
        return size

    def _measured(self, size: Mapping[str, Shape]) -> list[Shape]:
        try:
            self._reshape(size)
        except CaffeError as error:
            shapes = ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in size.items())
            raise ExportError(f"the net does not take the shape {shapes}: {error}") from error
        return [blob.shape for blob in self._net._blobs]

    def free(self, index: int) -> frozenset[int]:
        """The axes of a blob whose length depends on the size."""
        return frozenset(axis for axis, lengths in self._axes(index) if len({*lengths}) > 1)

    def dims(self, index: int, name: str) -> list[int | str]:
        """The shape of a blob, with names for free axes: the name of an input axis of the same length, or a new one."""
        words = {lengths: word for word, lengths in self._lengths.items()}
        return [words.get(lengths, f"{name} axis {axis}") if len({*lengths}) > 1 else lengths[0]
                for axis, lengths in self._axes(index)]

    def _axes(self, index: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Each axis of a blob with its lengths at all sizes."""
        return enumerate(zip(*(shapes[index] for shapes in self.shapes), strict=True))


def merged(graphs: Sequence[Graph]) -> Graph:
    """Merge the graphs of a net at several sizes into one that does not depend on the size.

    Raises ExportError with all layers for which that is impossible.
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
            target = _target([(graph.reshapes[name], section.constants[name]) for graph, section in zip(
                graphs, sections, strict=True)]) if name in first.reshapes else None
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


def _target(found: Sequence[tuple[Shape, Any]]) -> np.ndarray | None:
    """The target of a Reshape at all sizes, from pairs of the shape before it and the target.

    0 stands for an axis that is unchanged, -1 for one that is inferred. None if two would have to be inferred.
    """
    if len({len(target) for _, target in found}) > 1:
        return None
    merged = []
    for axis, lengths in enumerate(zip(*(target for _, target in found), strict=True)):
        is_kept = all(axis < len(old) and old[axis] == target[axis] for old, target in found)
        merged.append(lengths[0] if len({*lengths}) == 1 else 0 if is_kept else -1)
    return np.array(merged, np.int64) if merged.count(-1) < 2 else None
