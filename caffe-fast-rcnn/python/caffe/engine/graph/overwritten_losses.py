"""Finds losses that in-place layers overwrite. Only for a complete graph, before blobs change their shapes."""
from __future__ import annotations

from collections.abc import Iterator

from ..blob import Blob
from .graph import Graph


def overwritten_values(graph: Graph) -> frozenset[int]:
    """The layers, by index, with a loss whose values a later in-place layer overwrites in the forward pass."""
    last_writer = {id(blob._data): place for place, blob in _written_in_place(graph)}
    return frozenset(place for place, blob in _losses(graph) if last_writer.get(id(blob._data), place) > place)


def overwritten_gradients(graph: Graph) -> frozenset[int]:
    """The layers, by index, with a loss whose gradient is overwritten: by an in-place layer in the backward pass, or
    before it, with those of the parameters, by `clear_param_diffs`.
    """
    written = {id(blob._diff) for place, blob in _written_in_place(graph) if graph.plans[place].needs_backward}
    written.update(id(blob._diff) for blob in graph.parameters.learnable)
    return frozenset(place for place, blob in _losses(graph) if id(blob._diff) in written)


def _written_in_place(graph: Graph) -> Iterator[tuple[int, Blob]]:
    for place, (bottoms, tops) in enumerate(zip(graph.bottoms, graph.tops, strict=True)):
        for index in set(bottoms).intersection(tops):
            yield place, graph.blobs[index]


def _losses(graph: Graph) -> Iterator[tuple[int, Blob]]:
    for place, (layer, _, tops) in enumerate(graph.connected()):
        for blob, weight in zip(tops, layer.loss_weights, strict=True):
            if weight:
                yield place, blob
