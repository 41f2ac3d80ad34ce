"""Data: images from a database."""
from __future__ import annotations

from ...errors import WireError
from ..bases.databases import DatabaseError, open_database
from ..bases.datum import datum_pixels, parse_datum
from ..bases.images import ImageLayer, own_turns
from ..layer import register


@register("Data")
class Data(ImageLayer):
    """Batches of the Datum records of an LMDB or LevelDB database, in key order, cyclically.

    tops     images (batch_size, C, H, W), transformed by transform_param; optionally labels (batch_size)
    param    data_param: source (folder), batch_size, backend: LEVELDB (default) or LMDB, rand_skip (start at a random
             record below it), force_encoded_color (as transform_param.force_color)

    LevelDB needs the package plyvel, and allows only one process to open a database. Encoded records are decoded by
    OpenCV. Each of N processes that train together takes every N-th record.
    Source: src/caffe/layers/data_layer.cpp.
    """

    other_settings = ("transform_param",)
    unread_settings = ("data_param.prefetch",)

    def setup(self, bottom, top):
        param = self.param.data_param
        self.batch_size = param.batch_size
        try:
            self.database = open_database(param.source, param.DB.Name(param.backend))
        except DatabaseError as error:
            self.fail(str(error))
        super().setup(bottom, top)

    def references(self):
        param = self.param.data_param
        turns = own_turns(self)
        try:
            if next(self.database.records(), None) is None:
                self.fail(f"the database '{param.source}' is empty")
            skip = self.random.randrange(param.rand_skip) % len(self.database) if param.rand_skip else 0
            while True:
                for record in self.database.records():
                    if skip:
                        skip -= 1
                    elif next(turns):
                        yield record
        except WireError as error:
            self.fail(str(error))

    def read(self, reference):
        key, value = reference
        try:
            datum = parse_datum(value)
            return datum_pixels(datum, self._flag()), datum.label
        except WireError as error:
            self.fail(f"database '{self.param.data_param.source}', record '{key}' {error}")

    def _flag(self) -> str:
        """How OpenCV decodes an image."""
        param = self.param.transform_param
        color = param.force_color or self.param.data_param.force_encoded_color
        if color and param.force_gray:
            self.fail("transform_param: give either force_color or force_gray")
        return "COLOR" if color else "GRAYSCALE" if param.force_gray else "UNCHANGED"
