"""HDF5Data: rows of HDF5 files."""
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ...errors import WireError
from ..bases.hdf5_reading import check_datasets, hdf5_file, is_hdf5, member
from ..bases.images import own_turns, random_source, to_tensor
from ..layer import Layer, register


class Row(NamedTuple):
    """One row of a file: an array for each top."""

    path: str
    arrays: tuple[np.ndarray, ...]


@register("HDF5Data")
class HDF5Data(Layer):
    """Batches of rows from HDF5 files, file by file, endlessly.

    tops     one or more, each named after a dataset: (batch_size, *dataset shape without its first axis). Batches
             continue across files. The shape of the rows may differ between files, but not within a batch
    param    hdf5_data_param: source (a text file with one path per line), batch_size, shuffle (false: shuffles the
             files, and the rows within each)

    In data-parallel training, each of N processes takes every N-th row. Source: src/caffe/layers/hdf5_data_layer.cpp.
    """

    exact_bottoms = 0
    min_tops = 1

    def setup(self, bottom, top):
        param = self.param.hdf5_data_param
        if self.param.HasField("transform_param"):
            self.fail("does not transform data: remove transform_param")
        if param.batch_size < 1:
            self.fail(f"batch_size must be given and at least 1, found {param.batch_size}")
        self.paths = self._read_list(param.source)
        self.random = random_source()
        self._turns = own_turns(self)
        self._files = self._endless_files()
        self._loaded: tuple[str, list[np.ndarray]] | None = None
        self._rows: Iterator[Row] = iter(())
        self._first: Row | None = self._next_row()
        self._shape(top, [self._first])

    def _read_list(self, source: str) -> list[str]:
        try:
            if is_hdf5(source):
                self.fail(f"source '{source}' is an HDF5 file: expected a text file that lists such files, one per "
                          "line")
            with open(source, encoding="utf-8-sig", errors="surrogateescape") as file:
                paths = file.read().split()
        except OSError as error:
            self.fail(f"cannot read the list '{source}': {error.strerror}")
        if not paths:
            self.fail(f"the list '{source}' names no file")
        return paths

    def _endless_files(self) -> Iterator[str]:
        while True:
            if self.param.hdf5_data_param.shuffle:
                self.random.shuffle(self.paths)
            yield from self.paths

    def _next_row(self) -> Row:
        """The next row for this process. After a LayerError, the first row of the next file."""
        while True:
            for row in self._rows:
                if next(self._turns):
                    return row
            self._rows = self._rows_of(next(self._files))

    def _rows_of(self, path: str) -> Iterator[Row]:
        if self._loaded is None or self._loaded[0] != path:
            self._loaded = None         # free its memory before loading the next
            self._loaded = path, self._load(path)
        arrays = self._loaded[1]
        order = list(range(len(arrays[0])))
        if self.param.hdf5_data_param.shuffle:
            self.random.shuffle(order)
        return (Row(path, tuple(array[row] for array in arrays)) for row in order)

    def _load(self, path: str) -> list[np.ndarray]:
        """The datasets of a file that the tops are named after."""
        try:
            with hdf5_file(path) as file:
                datasets = [member(file, name) for name in self.param.top]
                missing = [name for name, dataset in zip(self.param.top, datasets, strict=True)
                           if not hasattr(dataset, "dtype")]
                if missing:
                    raise WireError(f"no dataset {missing}; there are {sorted(file)}")
                check_datasets(path, datasets)
                arrays = [np.asarray(dataset, np.float32) for dataset in datasets]
        except (OSError, WireError) as error:
            self.fail(f"cannot read the HDF5 file '{path}': {error}")
        shapes = [array.shape for array in arrays]
        if any(not shape for shape in shapes) or len({shape[0] for shape in shapes}) > 1 or not shapes[0][0]:
            self.fail(f"{path}: datasets need the same number of rows, at least one; found shapes {shapes}")
        return arrays

    def reshape(self, bottom, top):
        """Nothing to do: forward sets the shapes, which may differ between files."""

    def _shape(self, top, rows: list[Row]) -> None:
        for name, blob, index in zip(self.param.top, top, range(len(top)), strict=True):
            first = rows[0].arrays[index].shape
            other = next((row for row in rows if row.arrays[index].shape != first), None)
            if other is not None:
                self.fail(f"the rows of a batch need one shape: '{name}' has {first} in {rows[0].path} and "
                          f"{other.arrays[index].shape} in {other.path}; batch_size: 1 takes files of any shape")
            blob.reshape(self.param.hdf5_data_param.batch_size, *first)

    def forward(self, bottom, top):
        rows = []
        for _ in range(self.param.hdf5_data_param.batch_size):
            row, self._first = self._first, None
            rows.append(self._next_row() if row is None else row)
        self._shape(top, rows)
        for blob, arrays in zip(top, zip(*(row.arrays for row in rows), strict=True), strict=True):
            blob.tensor = to_tensor(np.stack(arrays))

    def backward(self, top, propagate_down, bottom):
        """No bottoms."""
