"""Text files that list images: lines `path label`."""
from __future__ import annotations

import os
import re

from ...errors import CaffeError


class ImageListError(CaffeError, ValueError):
    """A list that cannot be read. The message names the file and the line."""


def read_image_list(source: str | os.PathLike) -> list[tuple[str, int]]:
    """Read pairs (path, label). The label follows the last blank: paths may contain blanks.

    Labels are integers; a fraction, as in 1.0, is dropped. Raises ImageListError.
    """
    try:
        with open(source, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.rstrip() for line in file]
    except OSError as error:
        raise ImageListError(f"cannot read the list '{source}': {error.strerror}") from None
    found = [_entry(source, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise ImageListError(f"the list '{source}' names no image")
    return found


def _entry(source: str | os.PathLike, number: int, line: str) -> tuple[str, int]:
    name, _, label = line.rpartition(" ")
    found = re.fullmatch(r"([+-]?\d+)(\.\d*)?", label)
    if found is None:
        raise ImageListError(f"{source}:{number}: expected `path label`, found '{line}'")
    return name, int(found[1])
