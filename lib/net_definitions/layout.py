"""Puts a net into the text of a prototxt, with a header, section headings and remarks beside layers."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.protobuf.message import Message

from utils.prototxt import to_text

_WIDTH = 100


def net_text(net: Message, header: Sequence[str], sections: Mapping[int, str],
             remarks: Mapping[str, str]) -> str:
    """Text of `net`.

    `sections` maps the index of a layer to the heading above it, `remarks` its name to the comment beside it.
    """
    blocks = [*(f"# {line}\n" for line in header), f'name: "{net.name}"\n']
    for index, layer in enumerate(net.layer):
        if index in sections:
            blocks.append(f"\n# ---- {sections[index]} ".ljust(_WIDTH, "-") + "\n\n")
        blocks.append(_layer_text(layer, remarks.get(layer.name)))
    return "".join(blocks)


def _layer_text(layer: Message, remark: str | None) -> str:
    """A layer without settings and remark stands on one line if it fits."""
    fields = to_text(layer).splitlines()
    line = f"layer {{ {' '.join(fields)} }}\n"
    if remark is None and len(line) <= _WIDTH and not any("{" in field for field in fields):
        return line
    comment = f"  # {remark}" if remark else ""
    return f"layer {{{comment}\n" + "".join(f"  {field}\n" for field in fields) + "}\n"
