"""Decides which gradients count: a top whose reader passes none back has a zero gradient, whatever its memory holds."""
from __future__ import annotations

from ..blob import Blob
from .graph import Graph

_NOBODY = -1


class GradientFlow:
    """Gives each layer the tops for its backward pass.

    The gradient of a top counts if its reader propagates down to it, if it has a loss weight, or if it has no reader
    and so is set by the user. For a top of a Split, the reader must also have run in this pass, which several calls of
    `Net.backward` may make up. Otherwise the memory may hold gradients that were not requested (Layer.writes_unasked),
    that belong to an earlier pass, or to a blob that shares the memory.
    """

    def __init__(self, graph: Graph) -> None:
        self._splits = {place for place, layer in enumerate(graph.layers) if layer.type == "Split"}
        self._users = _bottoms_of_users_layers(graph)
        self._writers = {place: writers for place, writers in enumerate(_gradient_writers(graph))
                         if place in self._splits or _NOBODY in writers}     # of other layers, all gradients count
        self._ran: set[int] = set()
        self._first = self._last = 0

    def end_pass(self) -> None:
        """Make the next call of `begin` start a new pass, since values have changed."""
        self._last = 0

    def begin(self, first: int, last: int) -> None:
        """Announce that layers `first` down to `last` will run: a new pass, unless they are below those run last."""
        if first >= self._last:
            self._ran.clear()
        self._first, self._last = first, last

    def before_forward(self, index: int) -> None:
        """Track whether a user's layer writes the gradients of its bottoms, in forward or backward."""
        for blob in self._users.get(index, ()):
            blob.watch_grad()

    def before_backward(self, index: int) -> None:
        """Clear gradients that a user's layer wrote in an earlier pass: it may not write them in this one."""
        for blob in self._users.get(index, ()):
            if not blob.grad_was_used:
                blob.zero_grad()

    def tops(self, index: int, top: list[Blob]) -> list[Blob]:
        """The tops of the layer that runs now, with a zero gradient where theirs does not count."""
        self._ran.add(index)
        if index not in self._writers:
            return top
        return [blob if self._counts(index, writer) else blob.without_gradient()
                for blob, writer in zip(top, self._writers[index], strict=True)]

    def _counts(self, index: int, writer: int | None) -> bool:
        if writer is None or index not in self._splits:
            return writer != _NOBODY
        return writer in self._ran or (index == self._first and writer != _NOBODY)


def _bottoms_of_users_layers(graph: Graph) -> dict[int, list[Blob]]:
    """For each Python layer that runs backward, the bottoms whose gradients no other layer writes."""
    losses = {index for index, weight in graph.loss_weights() if weight}
    return {place: graph.blobs_of([index for index in bottoms if index not in losses.union(tops)])
            for place, (layer, bottoms, tops) in enumerate(zip(graph.layers, graph.bottoms, graph.tops, strict=True))
            if layer.type == "Python" and layer.needs_backward}


def _gradient_writers(graph: Graph) -> list[list[int | None]]:
    """For each top of each layer, the layer that writes its gradient, or _NOBODY; None for losses and unread tops."""
    reader_of: dict[int, int] = {}      # blob index -> its first reader after the current layer
    found: list[list[int | None]] = []
    for place, layer in reversed(list(enumerate(graph.layers))):
        found.append([None if weight or top not in reader_of else _writer(graph, reader_of[top], top)
                      for top, weight in zip(graph.tops[place], layer.loss_weights, strict=True)])
        reader_of.update(dict.fromkeys(graph.bottoms[place], place))
    return found[::-1]


def _writer(graph: Graph, reader: int, blob: int) -> int:
    plan = graph.plans[reader]
    asked = any(wanted and index == blob
                for index, wanted in zip(graph.bottoms[reader], plan.propagate_down, strict=True))
    return reader if plan.needs_backward and asked else _NOBODY
