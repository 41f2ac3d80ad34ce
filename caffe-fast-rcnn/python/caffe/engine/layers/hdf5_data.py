"""HDF5Data: rows of HDF5 files."""
from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..bases.images import own_turns, random_source, to_tensor
from ..layer import Layer, register


@register("HDF5Data")
class HDF5Data(Layer):
    """Batches of rows of HDF5 files, one file after the other, cyclically.

    tops     one or more; each is named after a dataset, with shape (batch_size, *dataset shape without its first
             axis). Batches continue across files.
    param    hdf5_data_param: source (a text file with one path in each line), batch_size, shuffle (false: the files,
             and the rows within each)

    Each of N processes that train together takes every N-th row. Source: src/caffe/layers/hdf5_data_layer.cpp.
    """

    exact_bottoms = 0
    min_tops = 1

    def setup(self, bottom, top):
        param = self.param.hdf5_data_param
        if self.param.HasField("transform_param"):
            self.fail("does not transform data: take transform_param away")
        if param.batch_size < 1:
            self.fail(f"batch_size must be given and at least 1, found {param.batch_size}")
        try:
            with open(param.source, encoding="utf-8") as file:
                self.paths = file.read().split()
        except OSError as error:
            self.fail(f"cannot read the list '{param.source}': {error.strerror}")
        if not self.paths:
            self.fail(f"the list '{param.source}' names no file")
        self.random = random_source()
        self._rows = self._endless_rows()
        self._first: tuple[np.ndarray, ...] | None = next(self._rows)
        for blob, row in zip(top, self._first, strict=True):
            blob.reshape(param.batch_size, *row.shape)

    def _endless_rows(self) -> Iterator[tuple[np.ndarray, ...]]:
        shuffle = self.param.hdf5_data_param.shuffle
        loaded: list[np.ndarray] = []
        turns = own_turns(self)
        while True:
            if shuffle:
                self.random.shuffle(self.paths)
            for path in self.paths:
                if not loaded or len(self.paths) > 1:
                    loaded = self._load(path)
                order = list(range(len(loaded[0])))
                if shuffle:
                    self.random.shuffle(order)
                for row in order:
                    if next(turns):
                        yield tuple(array[row] for array in loaded)

    def _load(self, path: str) -> list[np.ndarray]:
        """The datasets of a file that the tops name."""
        import h5py
        try:
            with h5py.File(path, "r") as file:
                missing = [name for name in self.param.top if name not in file]
                if missing:
                    self.fail(f"{path}: no dataset {missing}; there are {sorted(file)}")
                arrays = [np.asarray(file[name], np.float32) for name in self.param.top]
        except OSError as error:
            self.fail(f"cannot read the HDF5 file '{path}': {error}")
        shapes = [array.shape for array in arrays]
        if any(not shape for shape in shapes) or len({shape[0] for shape in shapes}) > 1 or not shapes[0][0]:
            self.fail(f"{path}: datasets need the same number of rows, at least one; found shapes {shapes}")
        return arrays

    def reshape(self, bottom, top):
        """The shapes are set in setup."""

    def forward(self, bottom, top):
        rows = []
        for _ in range(self.param.hdf5_data_param.batch_size):
            row, self._first = self._first, None
            rows.append(next(self._rows) if row is None else row)
        for blob, arrays in zip(top, zip(*rows, strict=True), strict=True):
            blob.tensor = to_tensor(np.stack(arrays)).reshape(blob.shape)

    def backward(self, top, propagate_down, bottom):
        """No bottoms."""
