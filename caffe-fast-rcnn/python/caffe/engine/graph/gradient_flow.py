"""Which gradients count: a top whose reader passes none back has a gradient of zero, whatever its memory holds."""
from __future__ import annotations

from collections.abc import Sequence

from ..blob import Blob
from .graph import Graph

_NOBODY = -1


class GradientFlow:
    """Gives each layer the tops for its backward pass.

    The gradient of a top counts if its reader propagates down to it, if it has a loss weight, or if it has no reader,
    so that it is the user's. That of a Split's top also needs its reader to have run in this pass, of which several
    calls of `Net.backward` may each run a part. Layers may leave other things in gradients: values that were not
    requested (Layer.writes_unasked), those of an earlier pass, or of a blob that shares the memory.
    """

    def __init__(self, graph: Graph) -> None:
        self._writers = _gradient_writers(graph)
        self._is_split = [layer.type == "Split" for layer in graph.layers]
        self._is_users = [layer.type == "Python" and layer.needs_backward for layer in graph.layers]
        self._ran: set[int] = set()
        self._first = self._last = 0

    def end_pass(self) -> None:
        """The next call of `begin` begins a new pass: values have changed."""
        self._last = 0

    def begin(self, first: int, last: int) -> None:
        """The layers from `first` down to `last` are about to run: a new pass, unless they are below the last ones."""
        if first >= self._last:
            self._ran.clear()
        self._first, self._last = first, last

    def before_forward(self, index: int, bottom: Sequence[Blob]) -> None:
        """Watch whether a user's layer writes the gradients of its bottoms, in forward or in backward."""
        if self._is_users[index]:
            for blob in bottom:
                blob.watch_grad()

    def before_backward(self, index: int, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Clear gradients that a user's layer wrote in an earlier pass: it may leave them alone in this one."""
        if self._is_users[index]:
            for blob in bottom:
                if not blob.grad_was_used and blob not in top:
                    blob.zero_grad()

    def tops(self, index: int, top: Sequence[Blob]) -> list[Blob]:
        """The tops of a layer that runs now; those whose gradient does not count with one of zero."""
        self._ran.add(index)
        return [blob if self._counts(index, writer) else blob.without_gradient()
                for blob, writer in zip(top, self._writers[index], strict=True)]

    def _counts(self, index: int, writer: int | None) -> bool:
        if writer is None or not self._is_split[index]:
            return writer != _NOBODY
        return writer in self._ran or (index == self._first and writer != _NOBODY)


def _gradient_writers(graph: Graph) -> list[list[int | None]]:
    """For each top of each layer the layer that writes its gradient, or _NOBODY; None for losses and unread tops."""
    reader_of: dict[int, int] = {}      # of a blob, by index: the first reader behind the present layer
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
