"""Data: images from a database."""
from __future__ import annotations

from ..bases.database_images import DatabaseLayer
from ..bases.datum import parse_datum
from ..bases.images import FOR_OBJECTS
from ..layer import register


@register("Data")
class Data(DatabaseLayer):
    """Batches of the Datum records of an LMDB or LevelDB database, in key order, cyclically.

    tops     images (batch_size, C, H, W), transformed by transform_param; optionally labels (batch_size)
    param    data_param: source (folder), batch_size, backend: LEVELDB (default) or LMDB, rand_skip (start at a random
             record below it), force_encoded_color (as transform_param.force_color)

    LevelDB needs the package plyvel, and allows only one process to open a database. Encoded records are decoded by
    OpenCV. Each of N processes that train together takes every N-th record.
    Source: src/caffe/layers/data_layer.cpp.
    """

    unread_settings = (*DatabaseLayer.unread_settings, *FOR_OBJECTS)

    def parsed(self, value):
        datum = parse_datum(value)
        return datum, datum.label
