"""Files of several arrays: written atomically, read without anything that could run code."""
from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable

import numpy as np

from utils.files import atomic_path


def write_npz(path: str | os.PathLike, **arrays: np.ndarray) -> None:
    """Write the arrays under their names; an existing file is replaced in one step."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_npz(path: str | os.PathLike, content: str, *names: str) -> list[np.ndarray]:
    """The named arrays of a file. Raises ValueError that says which `content` the file does not hold."""
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            return [file[name] for name in names]
    except (AttributeError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a file of {content}: {error}") from error


def texts(values: Iterable[object]) -> np.ndarray:
    """An array of texts, such as image names, that can be stored without pickle."""
    return np.array([str(value) for value in values], dtype=np.str_)
