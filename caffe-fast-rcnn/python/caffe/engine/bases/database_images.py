"""Base class of layers that read images from a database."""
from __future__ import annotations

from typing import Any

from ...errors import WireError
from ...proto import caffe_pb2
from ...proto.layer_settings import MOVED_TO_TRANSFORM
from .databases import DatabaseError, open_database
from .datum import datum_pixels
from .images import ImageLayer, own_turns


class DatabaseLayer(ImageLayer):
    """A layer that reads images from the database of data_param. Subclasses define `parsed`."""

    other_settings = ("data_param", "transform_param")
    unread_settings: tuple[str, ...] = (
        "data_param.prefetch", *(f"data_param.{name}" for name in MOVED_TO_TRANSFORM))

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
            datum, label = self.parsed(value)
            return datum_pixels(datum, self._flag()), label
        except WireError as error:
            self.fail(f"database '{self.param.data_param.source}', record '{key}' {error}")

    def parsed(self, value: bytes) -> tuple[caffe_pb2.Datum, Any]:
        """The image and the label of a record. Raises WireError."""
        raise NotImplementedError(f"{type(self).__name__} has no parsed")

    def _flag(self) -> str:
        """How to decode images: COLOR, GRAYSCALE or UNCHANGED."""
        param = self.param.transform_param
        color = param.force_color or self.param.data_param.force_encoded_color
        if color and param.force_gray:
            self.fail("transform_param: give either force_color or force_gray")
        return "COLOR" if color else "GRAYSCALE" if param.force_gray else "UNCHANGED"
