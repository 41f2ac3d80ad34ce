"""A prototxt under construction: layers, section headings and remarks beside single layers."""
from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import Message

from caffe import NetSpec
from utils.prototxt import to_text

from .nets import Net
from .task import Task

_WIDTH = 100        # of headings, and of layers on one line


class Sheet:
    """Layers, added to the NetSpec `n` in file order, of a prototxt with this title."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.n = NetSpec()
        self._headings: dict[int, str] = {}     # by the index of the layer below
        self._remarks: dict[str, str] = {}      # by the name of the layer

    def section(self, title: str) -> None:
        """Add a heading above the layers that follow."""
        self._headings[len(self.n.to_proto().layer)] = title

    def remark(self, layer: str, text: str) -> None:
        """Add a comment beside the named layer."""
        self._remarks[layer] = text

    def text(self, header: Sequence[str]) -> str:
        """The file's text, with the header lines as a comment on top."""
        blocks = [*(f"# {line}\n" for line in header), f'name: "{self.title}"\n']
        for index, layer in enumerate(self.n.to_proto().layer):
            if index in self._headings:
                blocks.append(f"\n# ---- {self._headings[index]} ".ljust(_WIDTH, "-") + "\n\n")
            blocks.append(_layer_text(layer, self._remarks.get(layer.name)))
        return "".join(blocks)


class Draft(Sheet):
    """A prototxt of net `net` for task `task`."""

    def __init__(self, net: Net, task: Task) -> None:
        super().__init__(net.title)
        self.net = net
        self.task = task


def _layer_text(layer: Message, remark: str | None) -> str:
    """Text of a layer: on one line if it fits and the layer has no settings or remark."""
    fields = to_text(layer).splitlines()
    line = f"layer {{ {' '.join(fields)} }}\n"
    if remark is None and len(line) <= _WIDTH and not any("{" in field for field in fields):
        return line
    comment = f"  # {remark}" if remark else ""
    return f"layer {{{comment}\n" + "".join(f"  {field}\n" for field in fields) + "}\n"
