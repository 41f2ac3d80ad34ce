"""Writes docs/layers.md, the reference of all layer types, from the catalogue and the schema.

    python -m caffe.layer_docs docs/layers.md

A layer's text is its docstring; the numbers of bottoms and tops are its class attributes; the fields of its settings,
their types and defaults are those of caffe_pb2, and their meanings are the comments in caffe.proto.
"""
from __future__ import annotations

import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from .engine import layers as _catalogue  # noqa: F401  (fills the registry)
from .engine.layer import Layer, layer_class, layer_types
from .proto import caffe_pb2
from .proto.layer_settings import settings_field

_LAYER = caffe_pb2.LayerParameter.DESCRIPTOR
_SCALARS = {FieldDescriptor.TYPE_INT32: "int32", FieldDescriptor.TYPE_INT64: "int64",
            FieldDescriptor.TYPE_UINT32: "uint32", FieldDescriptor.TYPE_FLOAT: "float",
            FieldDescriptor.TYPE_DOUBLE: "double", FieldDescriptor.TYPE_BOOL: "bool",
            FieldDescriptor.TYPE_STRING: "string", FieldDescriptor.TYPE_BYTES: "bytes"}
_FIELD = re.compile(r"(?:optional|required|repeated)\s+[\w.]+\s+(\w+)\s*=[^;]*;\s*(?://\s*(.*))?")
_HEAD = """# Layers

Every layer type with its bottoms, tops and settings. Written by `python -m caffe.layer_docs docs/layers.md` from the
catalogue and `caffe.proto`; do not edit.
"""


# ---- the schema
def proto_comments(text: str) -> dict[tuple[str, str], str]:
    """{(message, field): comment} of a .proto: the comment behind a field, else the one above its group of fields."""
    found: dict[tuple[str, str], str] = {}
    above: list[str] = []
    message, in_enum, after_comment = "", False, False
    for line in map(str.strip, text.splitlines()):
        is_comment = line.startswith("//")
        if is_comment and not in_enum:
            above = [*(above if after_comment else []), line.lstrip("/ ")]
        elif line.startswith("message "):
            message, above = line.split()[1], []
        elif line.startswith("enum "):
            in_enum, above = True, above if after_comment else []
        elif line.startswith("}") and in_enum:
            in_enum = False
        elif not line or line.startswith("}"):
            above = []
        elif not in_enum and (field := _FIELD.match(line)):
            found[message, field[1]] = field[2] or " ".join(above)
        after_comment = is_comment
    return found


def _type(field: FieldDescriptor) -> str:
    if field.enum_type:
        kind = ", ".join(f"`{value.name}`" for value in field.enum_type.values)
    elif field.message_type:
        kind = f"[{field.message_type.name}](#{field.message_type.name.lower()})"
    else:
        kind = _SCALARS[field.type]
    return f"repeated {kind}" if _is_repeated(field) else kind


def _is_repeated(field: FieldDescriptor) -> bool:
    return isinstance(field.default_value, list)


def _default(field: FieldDescriptor) -> str:
    if not field.has_default_value:
        return ""
    if field.enum_type:
        return f"`{field.enum_type.values_by_number[field.default_value].name}`"
    value = field.default_value
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else f'"{value}"' if isinstance(value, str) else str(value)


def _table(fields: Iterable[FieldDescriptor], message: str, comments: dict[tuple[str, str], str]) -> list[str]:
    rows = [f"| `{field.name}` | {_type(field)} | {_default(field)} | {_escaped(comments[message, field.name])} |"
            for field in fields]
    return ["| field | type | default | |", "|---|---|---|---|", *rows, ""] if rows else ["No fields.", ""]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_").replace("<", "&lt;")


# ---- the catalogue
def catalogue() -> list[str]:
    """The types of this package, sorted, without those that a program registered itself."""
    return [name for name in layer_types() if layer_class(name).__module__.startswith(_catalogue.__name__)]


def settings_of(name: str) -> list[str]:
    """The fields of LayerParameter that a layer type reads: its own, and `other_settings`."""
    read = {settings_field(name), *layer_class(name).other_settings}
    return [field.name for field in _LAYER.fields if field.name in read]


def _count(exact: int | None, least: int | None, most: int | None) -> str:
    if exact is not None:
        return str(exact)
    if most is not None:
        return f"{least or 0} to {most}"
    return f"{least} or more" if least else "any number"


def _facts(cls: type[Layer]) -> str:
    """Bottoms, tops and the class's other declarations, in one line."""
    tops = "as many as bottoms" if cls.equal_bottoms_and_tops else _count(cls.exact_tops, cls.min_tops, cls.max_tops)
    bottoms = _count(cls.exact_bottoms, cls.min_bottoms, cls.max_bottoms)
    facts = [f"Bottoms: {bottoms}", f"tops: {tops}{' (made where none is named)' if cls.auto_top_blobs else ''}"]
    if cls.runs_in_place:
        facts.append("may work in place")
    if cls.no_backward_to:
        facts.append(f"no gradient for bottom {' and '.join(map(str, cls.no_backward_to))}")
    return "; ".join(facts) + "."


def _section(name: str, shared: set[str], comments: dict[tuple[str, str], str]) -> list[str]:
    cls = layer_class(name)
    lines = [f"## {name}", "", "```text", *inspect.cleandoc(cls.__doc__ or "").splitlines(), "```", "", _facts(cls), ""]
    for field in map(_LAYER.fields_by_name.__getitem__, settings_of(name)):
        message = field.message_type
        if message.name in shared:
            lines += [f"`{field.name}`: see [{message.name}](#{message.name.lower()}).", ""]
        else:
            lines += [f"`{field.name}`", "", *_table(message.fields, message.name, comments)]
    return lines


def _shared(names: Iterable[str]) -> list[Descriptor]:
    """Messages with their own section: settings of several types, and messages used as fields."""
    used = Counter(field for name in names for field in settings_of(name))
    messages = [_LAYER.fields_by_name[field].message_type for field in used]
    found = {_LAYER.fields_by_name[field].message_type for field, count in used.items() if count > 1}
    queue = [_LAYER, *messages]
    while queue:
        message = queue.pop()
        inner = {field.message_type for field in message.fields
                 if field.message_type and not (message == _LAYER and field.name.endswith("_param"))} - found
        found |= inner
        queue += inner
    return sorted(found, key=lambda message: message.name)


def document() -> str:
    """The whole page, as text."""
    comments = proto_comments(Path(caffe_pb2.__file__).with_name("caffe.proto").read_text())
    names = catalogue()
    shared = _shared(names)
    lines = [_HEAD, "| type | |", "|---|---|"]
    anchors = Counter[str]()     # names that differ in capital letters only get numbers, as on GitHub
    for name in names:
        anchor, number = name.lower(), anchors[name.lower()]
        anchors[anchor] += 1
        summary = inspect.cleandoc(layer_class(name).__doc__ or "").split("\n")[0]
        lines.append(f"| [{name}](#{anchor}{f'-{number}' if number else ''}) | {_escaped(summary)} |")
    general = [field for field in _LAYER.fields if not field.name.endswith("_param")]
    lines += ["", "## Every layer", "", *_table(general, "LayerParameter", comments)]
    for name in names:
        lines += _section(name, {message.name for message in shared}, comments)
    for message in shared:
        lines += [f"## {message.name}", "", *_table(message.fields, message.name, comments)]
    return "\n".join(lines).rstrip("\n") + "\n"


def main(argv: list[str] | None = None) -> int:
    """Write the page to the file named, or print it."""
    paths = sys.argv[1:] if argv is None else argv
    if len(paths) > 1 or any(path.startswith("-") for path in paths):
        print("usage: python -m caffe.layer_docs [FILE]", file=sys.stderr)
        return 2
    if paths:
        Path(paths[0]).write_text(document(), encoding="utf-8")
    else:
        print(document(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
