"""Reads prototxts with our engine's reader if available (errors with line and nearest name), else with protobuf."""
from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from caffe.proto import caffe_pb2
from utils.errors import CheckError, UserError
from utils.other_caffe import has_message
from utils.other_caffe import our_prototxt as _ours

Parsed = TypeVar("Parsed", bound=Message)


class PrototxtError(UserError, ValueError):
    """A prototxt that protobuf cannot read; our engine's reader has its own error of the same name."""


def read_net(path: str | os.PathLike) -> caffe_pb2.NetParameter:
    """Read a prototxt's NetParameter. Raises FileNotFoundError, or PrototxtError for an invalid file."""
    return _ours.read_net(path) if _ours else _parse(path, caffe_pb2.NetParameter())


def read_solver(path: str | os.PathLike) -> caffe_pb2.SolverParameter:
    """Read a prototxt's SolverParameter. Raises FileNotFoundError, or PrototxtError for an invalid file."""
    return _ours.read_solver(path) if _ours else _parse(path, caffe_pb2.SolverParameter())


def read_label_map(path: str | os.PathLike) -> list[str]:
    """Read the class names of SSD's label map, in the order of their labels from 0, the background.

    Raises UserError for any other file, and on a Caffe without LabelMap.
    """
    if not has_message("LabelMap"):
        raise UserError(f"{path}: label maps need a Caffe that has SSD's LabelMap; this one lacks it")
    try:
        items = _parse(path, caffe_pb2.LabelMap()).item
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    names = {item.label: item.display_name or item.name for item in items}
    if sorted(names) != list(range(len(items))) or len(items) < 2 or not all(names.values()):
        found = ", ".join(str(item.label) for item in items) or "none"
        raise UserError(f"{path}: expected a label map: item {{ name: ... label: ... }} for each class, with labels "
                        f"from 0, the background, on; found the labels {found}")
    return [names[label] for label in range(len(items))]


def line_of_layer(path: str | os.PathLike, layer_name: str) -> int | None:
    """Line number of the first layer of this name; None if there is no such layer or file."""
    if _ours:
        return _ours.line_of_layer(path, layer_name)
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines() if Path(path).is_file() else []
    name = re.compile(rf"""\bname\s*:\s*["']{re.escape(layer_name)}["']""")
    return next((number for number, line in enumerate(lines, 1) if name.search(line)), None)


def to_text(message: Message) -> str:
    """Format a message as prototxt."""
    return _ours.to_text(message) if _ours else text_format.MessageToString(message, as_utf8=True)


def _parse(path: str | os.PathLike, message: Parsed) -> Parsed:
    try:
        return text_format.Parse(Path(path).read_text(encoding="utf-8"), message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise PrototxtError(f"{path}:{error}") from None


def net_named_by(solver_path: str | os.PathLike) -> str:
    """The path, as written, of the net that a solver trains. Raises CheckError if it names none."""
    param = read_solver(solver_path)
    name = param.train_net or param.net
    if not name:
        raise CheckError(f"{solver_path}: names no net; add train_net: \"...\"")
    return name


def net_of_solver(solver_path: str | os.PathLike) -> Path:
    """Find the file of the net that a solver trains.

    As in the engine, the path is relative to the working directory or, with our engine, to the solver's folder or one
    of its parents. Raises CheckError if there is no such file.
    """
    return find_net(net_named_by(solver_path), solver_path)


def find_net(name: str, solver_path: str | os.PathLike) -> Path:
    """Find the file of a net that a solver names, see `net_of_solver`."""
    found = _ours.find_net_file(name, solver_path) if _ours else Path(name)
    if found and found.is_file():
        return found
    raise CheckError(f"{solver_path}:{line_with(solver_path, name)}: the net {name} does not exist")


def line_with(path: str | os.PathLike, text: str) -> int:
    """Number of the first line that contains the text; 1 if none does."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return next((number for number, line in enumerate(lines, 1) if text in line), 1)
