"""Where the layers of a net stand in the file that the net was made from."""
from __future__ import annotations

import contextlib
from collections import Counter, defaultdict

from ...proto import caffe_pb2
from ...proto.prototxt import line_of_layer
from ..layer import Layer, LayerError
from .phase_filter import is_included


class SourceFile:
    """The file of a net: locates its layers, also those that share a name.

    path  the prototxt; None for a net that was not made from a file
    """

    def __init__(self, path: str | None, written: caffe_pb2.NetParameter, state: caffe_pb2.NetState) -> None:
        """Take the net as written in the file, and the state that selects its layers."""
        self.path = path
        self._numbers = _numbers(written, state)

    def located(self, error: LayerError) -> LayerError:
        """The error prefixed with the file, and with the line where its layer begins."""
        return error.located(self.path, self._number(error.layer or "", error.place))

    def place_of(self, layer: Layer) -> str:
        """The file and line of a layer, for messages: 'train.pt:12'; 'net' without a file."""
        if self.path is None:
            return "net"
        line = line_of_layer(self.path, layer.name, self._number(layer.name, layer.place))
        return f"{self.path}:{line}" if line else self.path

    def _number(self, name: str, place: int) -> int:
        """Which of the file's layers of a name is the net's layer of that name at `place`."""
        found = self._numbers.get(name, [])
        return found[place] if place < len(found) else 0


def _numbers(written: caffe_pb2.NetParameter, state: caffe_pb2.NetState) -> dict[str, list[int]]:
    """For each name, which of the file's layers of that name belong to the net.

    Often two data layers share a name, one for each phase.
    """
    found: dict[str, list[int]] = defaultdict(list)
    seen: Counter[str] = Counter()
    for layer in (*written.layer, *written.layers):
        is_v0 = isinstance(layer, caffe_pb2.V1LayerParameter) and layer.HasField("layer")
        name = layer.layer.name if is_v0 else layer.name
        with contextlib.suppress(LayerError):           # reported where the layers are filtered
            if is_v0 or is_included(state, layer):      # the upgrade drops the rules of V0
                found[name].append(seen[name])
        seen[name] += 1
    return found
