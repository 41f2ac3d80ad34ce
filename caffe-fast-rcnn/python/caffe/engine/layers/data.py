"""Data: images from a database."""
from __future__ import annotations

import numpy as np

from ...proto import caffe_pb2
from ..bases.databases import DatabaseError, open_database
from ..bases.images import ImageLayer, decode_image, own_turns, planes
from ..layer import register


@register("Data")
class Data(ImageLayer):
    """Batches of the Datum records of an LMDB or LevelDB database, in key order, cyclically.

    tops     images (batch_size, C, H, W), transformed by transform_param; optionally labels (batch_size)
    param    data_param: source (folder), batch_size, backend: LEVELDB (default) or LMDB, rand_skip (start at a random
             record below it)

    LevelDB needs the package plyvel, and allows only one process to open a database. Encoded records are decoded by
    OpenCV. Each of N processes that train together takes every N-th record.
    Source: src/caffe/layers/data_layer.cpp.
    """

    def setup(self, bottom, top):
        param = self.param.data_param
        self.batch_size = param.batch_size
        try:
            self.database = open_database(param.source, param.DB.Name(param.backend))
        except DatabaseError as error:
            self.fail(str(error))
        super().setup(bottom, top)

    def records(self):
        skip = self.random.randrange(self.param.data_param.rand_skip) if self.param.data_param.rand_skip else 0
        turns = own_turns(self)
        if next(self.database.items(), None) is None:
            self.fail(f"the database '{self.param.data_param.source}' is empty")
        while True:
            for _, value in self.database.items():
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
