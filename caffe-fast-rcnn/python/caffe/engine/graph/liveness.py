"""When blobs can be freed in a forward pass, and which layers need not run at all."""
from __future__ import annotations

from .graph import Graph


def freed_after(graph: Graph, kept: set[int]) -> list[list[int]]:
    """For each layer, the indices of the blobs whose values are not read after it has run.

    Values that a layer with a backward pass reads or writes are kept, as are inputs, constants, parameters, losses and
    the blobs in `kept`. Blobs that share values (after Split, Reshape, Flatten) are freed together.
    """
    last_use: dict[int, int] = {}       # identity of the array of values -> layer index
    losses = [index for index, weight in graph.loss_weights() if weight]
    stays = {id(blob._data) for blob in (*graph.blobs_of([*kept, *graph.inputs, *graph.preset, *losses]),
                                         *graph.parameters.blobs)}
    for place, (layer, bottoms, tops) in enumerate(graph.connected()):
        for blob in (*bottoms, *tops):
            last_use[id(blob._data)] = place
            if layer.needs_backward:
                stays.add(id(blob._data))
    freed: list[list[int]] = [[] for _ in graph.layers]
    for index, blob in enumerate(graph.blobs):
        if id(blob._data) in last_use and id(blob._data) not in stays:
            freed[last_use[id(blob._data)]].append(index)
    return freed


def idle_layers(graph: Graph, outputs: set[int]) -> set[int]:
    """The indices of the layers whose results reach no output, loss or backward pass: they end in Silence.

    A layer that does more than write its tops (`has_effects`) is never idle.
    """
    needed = set(outputs)
    idle = set()
    for place, layer in reversed(list(enumerate(graph.layers))):
        runs = layer.has_effects or layer.needs_backward or any(layer.loss_weights) \
            or any(index in needed for index in graph.tops[place])
        if runs:
            needed.update(graph.bottoms[place])
        else:
            idle.add(place)
    return idle
