"""Saves values that backward passes read but in-place layers overwrite; rejects nets where that does not suffice.

Blobs share their values after Split, Flatten, Reshape and the like: writing to one of them changes all.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ..blob import Blob
from ..layer import Layer
from .graph import Graph

Ends = tuple[list[Blob], list[Blob]]        # the bottoms and the tops of a layer


class SavedValues:
    """Saves the values that the backward pass of one layer reads and in-place layers overwrite.

    overwriters_of_bottoms  for each bottom, the layers that overwrite it: this layer and later ones
    overwriters_of_tops     for each top, the later layers that overwrite it
    """

    def __init__(self, layer: Layer, overwriters_of_bottoms: Sequence[Sequence[Layer]],
                 overwriters_of_tops: Sequence[Sequence[Layer]]) -> None:
        self._layer = layer
        self._bottoms = _lost(layer, overwriters_of_bottoms, layer.backward_reads_bottoms)
        self._tops = _lost(layer, overwriters_of_tops, layer.backward_reads_tops)
        self._saved_bottoms: dict[int, Blob] = {}
        self._saved_tops: dict[int, Blob] = {}

    def __bool__(self) -> bool:
        """Whether there is anything to save."""
        return bool(self._bottoms or self._tops)

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Run the layer forward and save values."""
        bottoms = {position: bottom[position].snapshot() for position in self._bottoms}
        self._layer.forward(bottom, top)
        self._saved_bottoms = bottoms
        self._saved_tops = {position: top[position].snapshot() for position in self._tops}

    def restored(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> Ends:
        """The bottoms and tops for the backward pass, with the values that the last forward pass read and wrote."""
        return ([self._saved_bottoms.get(position, blob) for position, blob in enumerate(bottom)],
                [self._saved_tops.get(position, blob) for position, blob in enumerate(top)])


def _lost(layer: Layer, overwriters: Sequence[Sequence[Layer]], are_read: bool) -> list[int]:
    """The positions of blobs whose shape, or values if the layer reads them, are lost before its backward pass."""
    return [position for position, others in enumerate(overwriters)
            if any(other.reshapes_in_place for other in others) or are_read and
            any(not (layer.backward_reads_signs and other.keeps_signs) for other in others)]


def plan_saving(graph: Graph) -> dict[int, SavedValues]:
    """Layer index -> its SavedValues, for layers that run backward and must save any. Only for a complete graph."""
    writers: dict[int, list[int]] = defaultdict(list)       # identity of values -> the in-place layers that write them
    for place, (bottoms, tops) in enumerate(zip(graph.bottoms, graph.tops, strict=True)):
        for index in set(tops).intersection(bottoms):
            writers[id(graph.blobs[index]._data)].append(place)

    def overwriters(indices: Sequence[int], first: int) -> list[list[Layer]]:
        return [[graph.layers[place] for place in writers[id(blob._data)] if place >= first]
                for blob in graph.blobs_of(indices)]

    found = {place: SavedValues(layer, overwriters(bottoms, place), overwriters(tops, place + 1))
             for place, (layer, bottoms, tops) in enumerate(zip(graph.layers, graph.bottoms, graph.tops, strict=True))
             if bottoms and layer.needs_backward}
    return {place: saved for place, saved in found.items() if saved}


def check_late_readers(graph: Graph) -> None:
    """Raise LayerError where a gradient would bypass an in-place layer.

    A blob may share values with another blob that a layer overwrites in place. A later layer that reads the first blob
    reads the new values, but its gradient would go to that blob as it was before.
    """
    written: dict[int, int] = {}        # identity of values -> the last in-place layer that wrote them
    seen: dict[int, int | None] = {}    # blob index -> the last such layer that the blob's gradient passes through
    for place, plan in enumerate(graph.plans):
        bottoms, tops = graph.bottoms[place], graph.tops[place]
        for index, wanted in zip(bottoms, plan.propagate_down, strict=True):
            blob = graph.blobs[index]
            passes_on = any(blob.shares_data_with(graph.blobs[top]) for top in tops if top not in bottoms)
            last = written.get(id(blob._data))
            if wanted and plan.needs_backward and not passes_on and last != seen[index]:
                _refuse_late_reader(graph, place, index, last)
        for top in tops:
            blob = graph.blobs[top]
            if top in bottoms:
                written[id(blob._data)] = seen[top] = place
            else:
                seen[top] = next((seen[index] for index in bottoms if blob.shares_data_with(graph.blobs[index])), None)


def _refuse_late_reader(graph: Graph, place: int, index: int, writer: int | None) -> None:
    assert writer is not None
    other = graph.layers[writer]
    written = next(top for top in graph.tops[writer] if graph.blobs[top].shares_data_with(graph.blobs[index]))
    graph.layers[place].fail(
        f"reads '{graph.blob_names[index]}', which shares memory with '{graph.blob_names[written]}', after layer "
        f"'{other.name}' ({other.type}) has overwritten both in place: its gradient would bypass that layer; "
        f"give the top of '{other.name}' another name")
