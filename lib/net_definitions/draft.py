"""A prototxt in the making: the net's layers, its section headings and remarks on single layers."""
from __future__ import annotations

from caffe import NetSpec

from .layout import net_text
from .nets import Net
from .task import Task


class Draft:
    """Layers of net `net` for task `task`, added to the NetSpec `n` in the order of the file."""

    def __init__(self, net: Net, task: Task) -> None:
        self.net = net
        self.task = task
        self.n = NetSpec()
        self.sections: dict[int, str] = {}
        self.remarks: dict[str, str] = {}

    def section(self, title: str) -> None:
        """Head the layers that follow with a comment."""
        self.sections[len(self.n.to_proto().layer)] = title

    def remark(self, layer: str, text: str) -> None:
        """Put a comment beside the named layer."""
        self.remarks[layer] = text

    def text(self, header: list[str]) -> str:
        """The file's text, with the header lines as a comment on top."""
        message = self.n.to_proto()
        message.name = self.net.title
        return net_text(message, header, self.sections, self.remarks)
