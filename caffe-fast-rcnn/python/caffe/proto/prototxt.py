"""Prototxt files: text to message and back.

Errors name the file, line and column, what was expected and the nearest valid name:
`models/x.pt:12:3: layer 'conv1': LayerParameter has no field 'botom'; did you mean 'bottom'?`
"""
from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from ..atomic import atomic_path
from ..errors import CaffeError
from . import caffe_pb2
from .binary import LFS_POINTER, is_lfs_pointer
from .explain import explain
from .forks import without_idle_fields
from .scan import layer_blocks, layer_line, line_of, tokens

M = TypeVar("M", bound=Message)
PathLike = str | os.PathLike

_LINE_LENGTH = 80           # blocks that fit are written on one line
_NOT_UTF8 = re.compile("[\ud800-\udfff]")     # bytes that are not UTF-8, as decoded
_NEVER_IN_ONE_LINE = {"LayerParameter", "V1LayerParameter", "NetParameter"}


class PrototxtError(CaffeError, ValueError):
    """A prototxt that cannot be read. Attributes: file, line and column (from 1; None if unknown), reason."""

    def __init__(self, file: str, line: int | None, column: int | None, reason: str) -> None:
        place = ":".join(str(part) for part in (file, line, column) if part is not None)
        super().__init__(f"{place}: {reason}")
        self.file, self.line, self.column, self.reason = file, line, column, reason


# ---------------------------------------------------------------------------------------------- reading
def read_net(path: PathLike) -> caffe_pb2.NetParameter:
    """The net of a prototxt as written: old layer formats are not upgraded."""
    return read_message(path, caffe_pb2.NetParameter())


def read_solver(path: PathLike) -> caffe_pb2.SolverParameter:
    """The solver settings of a prototxt as written."""
    return read_message(path, caffe_pb2.SolverParameter())


def read_message(path: PathLike, message: M) -> M:
    """Fill the message from a prototxt and return it.

    Raises FileNotFoundError for a missing file and PrototxtError for an invalid one.
    """
    return parse(_read_text(path), message, os.fspath(path))


def parse(text: str, message: M, name: str = "<text>") -> M:
    """Fill the message from text and return it; errors refer to the text by `name`."""
    if "\0" in text:
        raise PrototxtError(name, None, None, "this is a binary file, not a prototxt")
    _check_encoding(text, name)
    text = without_idle_fields(_unspaced_minus(text.removeprefix("\ufeff")), message.DESCRIPTOR, name)
    message.Clear()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise _error(text, message, name, error) from None
    _check_required(text, message, name)
    return message


def line_of_layer(path: PathLike, layer_name: str, number: int = 0) -> int | None:
    """The line where a layer of this name begins; None if there is no such layer or file.

    number  which of the layers of this name, counted from 0
    """
    try:
        return layer_line(_read_text(path), layer_name, number)
    except OSError:
        return None


def net_places(name: PathLike, solver_file: PathLike | None = None) -> list[Path]:
    """The places to search for a solver's net, in order.

    The working directory, as in Caffe, then the solver file's folder and its parents, which finds paths relative to the
    repository's root.
    """
    places = [Path(name)]
    if solver_file is not None and not places[0].is_absolute():
        folder = Path(solver_file).resolve().parent
        places += [parent / name for parent in (folder, *folder.parents)]
    return places


def find_net_file(name: PathLike, solver_file: PathLike | None = None) -> Path | None:
    """The first of `net_places` that is a file; None if there is none."""
    return next((path for path in net_places(name, solver_file) if path.is_file()), None)


def _read_text(path: PathLike) -> str:
    path = Path(path)
    if not path.is_file():
        what = "is a folder, not a prototxt" if path.is_dir() else "no such file"
        raise FileNotFoundError(f"{path}: {what} (looked in {path.parent.resolve()})")
    data = path.read_bytes()
    if is_lfs_pointer(path):
        raise PrototxtError(str(path), None, None, f"this is {LFS_POINTER}, not a prototxt")
    # Comments may be in any encoding: bytes that are not UTF-8 become surrogates, which parse refuses elsewhere.
    return data.decode("utf-8", errors="surrogateescape")


def _check_encoding(text: str, name: str) -> None:
    """Refuse bytes that are not UTF-8 outside of comments: protobuf fails on them in many ways."""
    if not _NOT_UTF8.search(text):
        return
    for kind, token, offset in tokens(text):
        if _NOT_UTF8.search(token):
            what, column = "text in quotes" if kind == "string" else "a word", offset - text.rfind("\n", 0, offset)
            raise PrototxtError(name, line_of(text, offset), column,
                                f"{what} that is not UTF-8: save the file as UTF-8")


def _unspaced_minus(text: str) -> str:
    """Caffe reads `- 1` as -1: move such a minus next to its number, which keeps all columns."""
    if not re.search(r"-[ \t]+[\d.]", text):
        return text
    parts = list(text)
    for kind, token, offset in tokens(text):
        gap = re.match(r"-([ \t]+)[\d.]", text[offset:]) if (kind, token) == ("word", "-") else None
        if gap:
            parts[offset:offset + len(gap[1]) + 1] = gap[1] + "-"
    return "".join(parts)


def _error(text: str, message: Message, name: str, error: text_format.ParseError) -> PrototxtError:
    line, column = error.GetLine(), error.GetColumn()
    reason = re.sub(r"^\d+:\d+ : (?:'.*': )?", "", str(error), flags=re.DOTALL)
    if line is None or column is None:
        return PrototxtError(name, None, None, reason)
    lines = text.split("\n")
    offset = sum(len(part) + 1 for part in lines[:line - 1]) + column - 1
    return PrototxtError(name, line, column, explain(text, offset, message.DESCRIPTOR, reason))


def _check_required(text: str, message: Message, name: str) -> None:
    missing = message.FindInitializationErrors()
    if not missing:
        return
    line = None
    if layer := re.match(r"layer\[(\d+)\]", missing[0]):
        blocks = [block for block, depth in layer_blocks(text) if depth == 0 and block.key == "layer"]
        line = line_of(text, blocks[int(layer[1])].start)
    raise PrototxtError(name, line, None, f"{missing[0]} must be given")


# ---------------------------------------------------------------------------------------------- writing
def write_message(path: PathLike, message: Message) -> None:
    """Write the message as a prototxt, atomically."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.write(to_text(message))


def to_text(message: Message) -> str:
    """The message as a prototxt in the usual layout: short blocks on one line, layers on several."""
    return "".join(line + "\n" for line in _lines(message, ""))


def _lines(message: Message, indent: str) -> list[str]:
    lines = []
    for entry, values in message.ListFields():
        key = f"[{entry.full_name}]" if entry.is_extension else entry.name
        repeated = not isinstance(values, Message | str | bytes) and hasattr(values, "__len__")
        for value in values if repeated else [values]:
            if isinstance(value, Message):
                lines += _block(key, value, indent)
            else:
                lines.append(f"{indent}{key}: {_scalar(entry, value)}")
    return lines


def _block(key: str, message: Message, indent: str) -> list[str]:
    inside = _lines(message, "")
    short = f"{indent}{key} {{ {' '.join(inside)} }}" if inside else f"{indent}{key} {{ }}"
    if len(short) <= _LINE_LENGTH and message.DESCRIPTOR.name not in _NEVER_IN_ONE_LINE:
        return [short]
    return [f"{indent}{key} {{", *_lines(message, indent + "  "), f"{indent}}}"]


def _scalar(entry: FieldDescriptor, value: object) -> str:
    out = io.StringIO()
    text_format.PrintFieldValue(entry, value, out, as_utf8=True)
    text = out.getvalue()
    if isinstance(value, float):
        return text.removesuffix(".0")
    return text.replace("\\'", "'")       # protobuf escapes single quotes; in double quotes they need none
