"""Text files that list images, with lines `path label`, `path label label ...`, `path path` or `path`."""
from __future__ import annotations

import os
import re

import numpy as np

from ...errors import CaffeError
from ...proto.binary import LFS_POINTER, is_lfs_pointer

_WHOLE = re.compile(r"([+-]?0*\d{1,10})(\.\d*)?")
_LABELS = range(-2 ** 31, 2 ** 31)      # 32-bit integers, as in Caffe
_LARGEST = float(np.finfo(np.float32).max)
_NUMBERS = re.compile(r"(?: [+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?){2,}$")      # at the end of a line


class ImageListError(CaffeError, ValueError):
    """A list cannot be read. The message names the file and the line."""


def read_image_list(source: str | os.PathLike) -> list[tuple[str, int]]:
    """Read pairs (path, label). The label follows the last space, so paths may contain spaces.

    Labels are 32-bit integers; a fraction, as in 1.0, is dropped. Raises ImageListError.
    """
    return [_entry(source, number, line) for number, line in _lines(source)]


def read_pairs(source: str | os.PathLike) -> list[tuple[str, str]]:
    """Read pairs of paths. The second follows the last space. Raises ImageListError."""
    found = []
    for number, line in _lines(source):
        first, second = _entry_text(line)
        if not first.strip():
            raise ImageListError(f"{source}:{number}: expected two paths, found '{line}'")
        found.append((first.rstrip(), second))
    return found


def read_labels_list(source: str | os.PathLike, folder: str) -> list[tuple[str, list[float]]]:
    """Read pairs (path, labels), with the same number of labels in every line. Raises ImageListError.

    Numbers after the path are labels. A path may end in numbers too, as in `frame 12 3`: if an image has the name that
    includes all but the last number, there is one label. A single label is truncated to an integer, several are not.

    folder  prefix of each path
    """
    lines = _lines(source)
    count = _count_labels(lines[0][1], folder)
    if count == 1:
        return [(name, [label]) for name, label in (_entry(source, number, line) for number, line in lines)]
    return [_several(source, number, line, count) for number, line in lines]


def read_pairs_list(source: str | os.PathLike) -> list[tuple[str, str]]:
    """Read pairs (image, label image) of paths without spaces. Raises ImageListError."""
    found = []
    for number, line in _lines(source):
        if len(line.split()) != 2:
            raise ImageListError(f"{source}:{number}: expected two paths without blanks, `image labels`, "
                                 f"found '{line}'")
        found.append((line.split()[0], line.split()[1]))
    return found


def read_names_list(source: str | os.PathLike) -> list[str]:
    """Read paths, the first word of each line. Raises ImageListError."""
    return [line.split()[0] for _, line in _lines(source)]


def _lines(source: str | os.PathLike) -> list[tuple[int, str]]:
    """The non-empty lines with their numbers."""
    if is_lfs_pointer(source):
        raise ImageListError(f"the list '{source}': this is {LFS_POINTER}")
    try:
        with open(source, encoding="utf-8-sig", errors="surrogateescape") as file:
            lines = [line.rstrip() for line in file]
    except OSError as error:
        raise ImageListError(f"cannot read the list '{source}': {error.strerror}") from None
    found = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise ImageListError(f"the list '{source}' names no image")
    return found


def _count_labels(line: str, folder: str) -> int:
    """The number of labels in a line."""
    if os.path.exists(folder + _entry_text(line)[0]):
        return 1
    several = _NUMBERS.search(line)
    return len(several[0].split()) if several and os.path.exists(folder + line[:several.start()]) else 1


def _several(source: str | os.PathLike, number: int, line: str, count: int) -> tuple[str, list[float]]:
    found = _NUMBERS.search(line)
    if not found or len(found[0].split()) < count:
        raise ImageListError(f"{source}:{number}: expected a path and {count} labels, as in the first line, "
                             f"found '{line}'")
    name, *labels = line.rsplit(" ", count)
    values = [float(label) for label in labels]
    if max(map(abs, values)) > _LARGEST:
        raise ImageListError(f"{source}:{number}: labels are at most {_LARGEST:g}, found '{line}'")
    return name, values


def _entry(source: str | os.PathLike, number: int, line: str) -> tuple[str, int]:
    name, label = _entry_text(line)
    found = _WHOLE.fullmatch(label)
    if found is None:
        raise ImageListError(f"{source}:{number}: expected `path label`, found '{line}'")
    if int(found[1]) not in _LABELS:
        raise ImageListError(f"{source}:{number}: a label is a whole number of 32 bits, found {label}")
    return name, int(found[1])


def _entry_text(line: str) -> tuple[str, str]:
    """The path and the text of the last label."""
    name, _, label = line.rpartition(" ")
    return name, label
