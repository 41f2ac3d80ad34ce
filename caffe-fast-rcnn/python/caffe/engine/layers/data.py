"""Data: images from an LMDB database."""
from __future__ import annotations

import os
import weakref

import numpy as np

from ...proto import caffe_pb2
from ..bases.images import ImageLayer, decode_image, own_turns, planes
from ..layer import register

_open: weakref.WeakValueDictionary = weakref.WeakValueDictionary()     # LMDB allows a process to open a folder once


@register("Data")
class Data(ImageLayer):
    """Batches of the Datum records of an LMDB database, in key order, cyclically.

    tops     images (batch_size, C, H, W), transformed by transform_param; optionally labels (batch_size)
    param    data_param: source (folder), batch_size, backend: LMDB, rand_skip (start at a random record below it)

    LevelDB databases are not read: convert them to LMDB. Encoded records are decoded by OpenCV. Each of N
    processes that train together takes every N-th record.
    Source: src/caffe/layers/data_layer.cpp.
    """

    def setup(self, bottom, top):
        param = self.param.data_param
        if param.DB.Name(param.backend) != "LMDB":
            self.fail("reads LMDB databases only: convert the LevelDB one, and set `backend: LMDB`")
        self.batch_size = param.batch_size
        self.environment = self._database(param.source)
        super().setup(bottom, top)

    def _database(self, source: str):
        try:
            import lmdb
        except ModuleNotFoundError:
            self.fail(f"reading the database '{source}' needs the package lmdb: pip install lmdb")
        path = os.path.realpath(source)
        environment = _open.get(path)
        if environment is None:
            try:
                environment = _open[path] = lmdb.open(path, readonly=True, lock=False, create=False)
            except lmdb.Error as error:
                self.fail(f"cannot open the LMDB database '{source}': {error}")
        return environment

    def records(self):
        skip = self.random.randrange(self.param.data_param.rand_skip) if self.param.data_param.rand_skip else 0
        turns = own_turns(self)
        with self.environment.begin() as transaction:
            if not transaction.stat()["entries"]:
                self.fail(f"the database '{self.param.data_param.source}' is empty")
            while True:
                for value in transaction.cursor().iternext(keys=False, values=True):
                    if skip:
                        skip -= 1
                        continue
                    if next(turns):
                        datum = caffe_pb2.Datum.FromString(value)
                        yield self._image(datum), datum.label

    def _image(self, datum) -> np.ndarray:
        if datum.encoded:
            param = self.param.transform_param
            if param.force_color and param.force_gray:
                self.fail("transform_param: give either force_color or force_gray")
            flag = "COLOR" if param.force_color else "GRAYSCALE" if param.force_gray else "UNCHANGED"
            return planes(decode_image(self, datum.data, flag))
        shape = (datum.channels, datum.height, datum.width)
        values = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float32)
        if values.size != np.prod(shape):
            self.fail(f"a record of shape {shape} has {values.size} values")
        return values.reshape(shape)
