"""Data: images from a database."""
from __future__ import annotations

from ..bases.database_images import DatabaseLayer
from ..bases.datum import parse_datum
from ..bases.images import FOR_OBJECTS
from ..layer import register


@register("Data")
class Data(DatabaseLayer):
    """Batches of Datum records from an LMDB or LevelDB database, in key order, endlessly.

    tops     images (batch_size, C, H, W), transformed by transform_param; optionally labels (batch_size)
    param    data_param: source (folder), batch_size, backend: LEVELDB (default) or LMDB, rand_skip (start at a random
             record below it), force_encoded_color (same as transform_param.force_color)

    LevelDB needs the package plyvel, and only one process at a time can open a database. OpenCV decodes encoded
    records. In data-parallel training, each of N processes takes every N-th record.
    Source: src/caffe/layers/data_layer.cpp.
    """

    unread_settings = (*DatabaseLayer.unread_settings, *FOR_OBJECTS)

    def parsed(self, value):
        datum = parse_datum(value)
        return datum, datum.label
