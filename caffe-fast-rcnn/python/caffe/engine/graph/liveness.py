"""Which blobs can be given up when in a forward pass, and which layers need not run at all."""
from __future__ import annotations

from collections.abc import Sequence

from ..blob import Blob
from ..layer import Layer


def freed_after(layers: Sequence[Layer], bottoms: Sequence[Sequence[int]], tops: Sequence[Sequence[int]],
                blobs: Sequence[Blob], kept: set[int]) -> list[list[int]]:
    """For each layer the blobs whose values nobody reads any more once it has run.

    Values that a layer with a backward pass reads or writes stay, and so do the blobs in `kept`. Blobs that share
    their values (behind Split, Reshape, Flatten) are given up together. Lists are parallel to the layers; blobs are
    named by their index.
    """
    last_use: dict[int, int] = {}       # by the identity of the array of values
    stays = {id(blobs[index]._data) for index in kept}
    for place, (layer, bottom, top) in enumerate(zip(layers, bottoms, tops, strict=True)):
        for index in (*bottom, *top):
            last_use[id(blobs[index]._data)] = place
            if layer.needs_backward:
                stays.add(id(blobs[index]._data))
    freed: list[list[int]] = [[] for _ in layers]
    for index, blob in enumerate(blobs):
        if id(blob._data) in last_use and id(blob._data) not in stays:
            freed[last_use[id(blob._data)]].append(index)
    return freed


def idle_layers(layers: Sequence[Layer], bottoms: Sequence[Sequence[int]], tops: Sequence[Sequence[int]],
                outputs: set[int]) -> set[int]:
    """The layers whose results reach no output, no loss and no backward pass: they end in Silence.

    A layer that does more than write its tops (`has_effects`) is never idle.
    """
    needed = set(outputs)
    idle = set()
    for place in reversed(range(len(layers))):
        layer = layers[place]
        runs = layer.has_effects or layer.needs_backward or any(layer.loss_weights) \
            or any(index in needed for index in tops[place])
        if runs:
            needed.update(bottoms[place])
        else:
            idle.add(place)
    return idle
