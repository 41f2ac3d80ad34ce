"""The registry of data sets by name."""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from datasets.source import DatasetError

if TYPE_CHECKING:       # modules that only register a data set need not import everything
    from datasets.imdb import imdb

registered: dict[str, Callable[[], imdb]] = {}


def register(name: str, make: Callable[[], imdb]) -> None:
    """Make get_imdb(name) call make(). Raises DatasetError if the name is taken."""
    if name in registered:
        raise DatasetError(f"a data set named {name!r} is registered already")
    registered[name] = make
