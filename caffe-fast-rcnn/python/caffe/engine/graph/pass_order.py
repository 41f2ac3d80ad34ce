"""Explains the errors of a backward pass that does not follow a forward pass with blobs of the same shapes."""
from __future__ import annotations

from collections.abc import Sequence

from ...errors import CaffeError
from ..blob import Blob
from ..layer import Layer

Shapes = list[tuple[int, ...]]


class PassOrder:
    """Records the shapes of the blobs, bottoms and tops, that each layer's last forward pass used."""

    def __init__(self) -> None:
        self._shapes: dict[int, Shapes] = {}        # by the layer's index

    def ran_forward(self, index: int, blobs: Sequence[Blob]) -> None:
        """Record that a layer ran forward with these blobs."""
        self._shapes[index] = _shapes_of(blobs)

    def check_after(self, error: Exception, index: int, layer: Layer, blobs: Sequence[Blob]) -> None:
        """Raise LayerError if the layer's backward pass failed because of the order of the passes.

        Layers keep what their gradient needs in the forward pass. Errors of users' Python layers stay as they are.
        """
        if isinstance(error, CaffeError) or layer.type == "Python":
            return
        if index not in self._shapes:
            layer.fail("cannot run backward before it has run forward: call net.forward() first")
        found = _shapes_of(blobs)
        if found != self._shapes[index]:
            layer.fail(f"its last forward pass had blobs of shapes {self._shapes[index]}, this backward pass has "
                       f"{found}: call net.forward() after a reshape")


def _shapes_of(blobs: Sequence[Blob]) -> Shapes:
    return [blob.shape for blob in blobs]
