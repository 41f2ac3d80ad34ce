"""Lays out a NetParameter as a person would write it: comments, and small messages on one line."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_WIDTH = 100


def net_text(net: Message, header: Sequence[str], sections: Mapping[int, str],
             remarks: Mapping[str, str]) -> str:
    """Text of `net`.

    `sections` maps the index of a layer to the heading above it, `remarks` its name to the comment beside it.
    """
    blocks = ["\n".join(f"# {line}".rstrip() for line in header) + f'\nname: "{net.name}"\n']
    for index, layer in enumerate(net.layer):
        if index in sections:
            blocks.append(f"\n# ---- {sections[index]} ".ljust(_WIDTH, "-") + "\n\n")
        blocks.append(_layer_text(layer, remarks.get(layer.name)))
    return "".join(blocks)


def _layer_text(layer: Message, remark: str | None) -> str:
    """A layer without settings and remark stands on one line if it fits."""
    fields = list(_fields(layer))
    line = f"layer {_in_one_line(layer)}\n"
    if remark is None and len(line) <= _WIDTH and not any(field.message_type for field, _ in fields):
        return line
    comment = f"  # {remark}" if remark else ""
    return f"layer {{{comment}\n" + "".join(_block(field, value, "  ") for field, value in fields) + "}\n"


def _block(field: FieldDescriptor, value, indent: str) -> str:
    """One field on its own line, or a message too wide for that with one line for each of its fields."""
    line = indent + _one_line(field, value)
    if field.message_type is None or len(line) <= _WIDTH:
        return line + "\n"
    inner = "".join(_block(f, v, indent + "  ") for f, v in _fields(value))
    return f"{indent}{field.name} {{\n{inner}{indent}}}\n"


def _fields(message: Message) -> Iterator[tuple[FieldDescriptor, object]]:
    """Set fields in the order of their numbers, repeated ones as often as they have values."""
    for field, value in message.ListFields():
        if hasattr(value, "append"):
            yield from ((field, item) for item in value)
        else:
            yield field, value


def _in_one_line(message: Message) -> str:
    return " ".join(["{", *(_one_line(field, value) for field, value in _fields(message)), "}"])


def _one_line(field: FieldDescriptor, value) -> str:
    if field.message_type is not None:
        return f"{field.name} {_in_one_line(value)}"
    return f"{field.name}: {_scalar(field, value)}"


def _scalar(field: FieldDescriptor, value) -> str:
    if field.type == FieldDescriptor.TYPE_ENUM:
        return field.enum_type.values_by_number[value].name
    if field.type == FieldDescriptor.TYPE_STRING:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    if field.type == FieldDescriptor.TYPE_BOOL:
        return "true" if value else "false"
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return np.format_float_positional(np.float32(value), trim="-")
    return str(value)
