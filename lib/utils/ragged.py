"""Ragged arrays: many arrays of different lengths stored as one, in memory or in a temporary file."""
from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from utils.errors import UserError
from utils.files import naming


class Ragged(Sequence[np.ndarray]):
    """A sequence of arrays, each of which is consecutive rows of one array, which may be memory-mapped.

    flat    (n, ...) the rows of all arrays
    counts  (I,) number of rows of each array
    starts  (I,) first row of each; None if they are contiguous
    Item i is a view of `flat`. The overhead is 16 bytes per array.
    """

    def __init__(self, flat: np.ndarray, counts: np.ndarray, starts: np.ndarray | None = None) -> None:
        self.flat, self.counts = flat, np.asarray(counts, np.int64)
        self.starts = np.cumsum(self.counts) - self.counts if starts is None else starts

    def __len__(self) -> int:
        return len(self.counts)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> Ragged: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | Ragged:
        """Array `index`, or for a slice a Ragged of these arrays."""
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        start = self.starts[index]
        return self.flat[start:start + self.counts[index]]

    def take(self, indices: np.ndarray) -> Ragged:
        """The arrays at these indices, in this order."""
        return Ragged(self.flat, self.counts[indices], self.starts[indices])


def _temporary_folder() -> str:
    """The system's folder for temporary files. Raises UserError if none is writable."""
    try:
        return tempfile.gettempdir()
    except OSError as error:
        raise UserError(f"no temporary files can be written ({error.strerror}): set TMPDIR to a folder with "
                        "space") from None


class Spool:
    """Collects arrays in an unnamed temporary file, to save memory; the file is deleted with its last reader.

    An OSError, such as that of a full disk, names the folder.

    row_shape  shape of a row
    dtype      of the rows
    folder     of the file; None: the system's folder for temporary files
    """

    def __init__(self, row_shape: tuple[int, ...], dtype: DTypeLike,
                 folder: str | os.PathLike[str] | None = None) -> None:
        self._row_shape, self._dtype = row_shape, np.dtype(dtype)
        self._folder = _temporary_folder() if folder is None else os.fspath(folder)
        with naming(self._folder):
            self._file = tempfile.TemporaryFile(dir=self._folder)
        self._counts: list[int] = []

    def append(self, rows: ArrayLike) -> None:
        """Append one array."""
        array = np.ascontiguousarray(rows, self._dtype).reshape(-1, *self._row_shape)
        with naming(self._folder):
            self._file.write(array.data)
        self._counts.append(len(array))

    def extend(self, arrays: Iterable[ArrayLike]) -> Spool:
        """Append arrays, one after the other; returns the spool."""
        for rows in arrays:
            self.append(rows)
        return self

    def ragged(self) -> Ragged:
        """The appended arrays, memory-mapped and read-only."""
        counts = np.array(self._counts, np.int64)
        shape = (int(counts.sum()), *self._row_shape)
        with naming(self._folder):
            self._file.flush()
        flat = np.memmap(self._file, self._dtype, "r", shape=shape) if counts.any() else np.zeros(shape, self._dtype)
        return Ragged(flat.view(np.ndarray), counts)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *exception: object) -> None:
        with naming(self._folder):
            self._file.close()
