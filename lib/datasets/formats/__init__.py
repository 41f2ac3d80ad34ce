"""The catalogue of formats in which annotations are kept.

A format is a module, or any object, with two functions: see `Format`. Cleaning, reports, training and evaluation work
from the Source that its reader returns, and know no format.
"""
from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from datasets.formats import voc
from datasets.source import DatasetError, Source


class Format(Protocol):
    """What a format has."""

    def understands(self, path: Path) -> bool:
        """Whether a folder or file, which may not exist, is in this format."""

    def read(self, path: Path, split: str | None) -> Source:
        """One split; without `split` that to train on, else everything.

        Raises DatasetError that says what was looked for and what is there.
        """


_formats: list[Format] = [      # in the order in which they are asked
    voc,        # the last: it takes any folder, and says what it lacks
]


def register(format: Format) -> None:
    """Add a format, to be asked before those that are there. Raises DatasetError if it is none, or known already."""
    missing = [name for name in ("understands", "read") if not callable(getattr(format, name, None))]
    if missing:
        raise DatasetError(f"{format!r} is no format of data sets: it has no function {' and no '.join(missing)}")
    if format in _formats:
        raise DatasetError(f"{format!r} is registered already")
    _formats.insert(0, format)


def find_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """A split of the data set at a path, in the first format that understands it. Raises DatasetError."""
    path = Path(path)
    for format in _formats:
        if format.understands(path):
            return format.read(path, split)
    raise DatasetError(f"{path}: there is no such folder or YAML file")
