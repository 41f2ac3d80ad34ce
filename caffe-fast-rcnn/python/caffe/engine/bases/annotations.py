"""AnnotatedDatum records of databases: images with their objects. Error messages continue a sentence, as in `datum`.

Objects are rows (G, 7) of float64: class, instance, x1, y1, x2, y2 normalised by the image's width and height, and
difficult (0 or 1).
"""
from __future__ import annotations

import numpy as np
from google.protobuf.message import DecodeError

from ...errors import WireError
from ...proto import caffe_pb2
from .box_areas import shares_within
from .datum import check_datum

BOX = slice(2, 6)       # of an object's row
OBJECT = 7              # values per row


def parse_annotated_datum(value: bytes) -> caffe_pb2.AnnotatedDatum:
    """Parse a record. Raises WireError if it is not an AnnotatedDatum or has no image."""
    try:
        record = caffe_pb2.AnnotatedDatum.FromString(value)
    except DecodeError as error:
        raise WireError(f"is no AnnotatedDatum: {error}") from None
    if not record.HasField("datum"):
        raise WireError("is no AnnotatedDatum with an image; layers of type Data read Datum records, caffe "
                        "convert_annoset writes AnnotatedDatum")
    check_datum(record.datum)
    return record


def objects_of(record: caffe_pb2.AnnotatedDatum) -> np.ndarray:
    """The objects of a record, (G, 7). Raises WireError for a box that is not finite."""
    rows = [(group.group_label, item.instance_id, item.bbox.xmin, item.bbox.ymin, item.bbox.xmax, item.bbox.ymax,
             item.bbox.difficult) for group in record.annotation_group for item in group.annotation]
    objects = np.array(rows, np.float64).reshape(-1, OBJECT)
    if not np.isfinite(objects).all():
        raise WireError(f"has a box that is not finite: {objects[~np.isfinite(objects).all(1)][0, BOX].tolist()}")
    return objects


def projected(objects: np.ndarray, window: np.ndarray, emit: caffe_pb2.EmitConstraint | None) -> np.ndarray:
    """The objects visible in a window of the image, normalised by the window and clipped to it.

    window  x1, y1, x2, y2 normalised by the image; may extend beyond it
    emit    which objects to keep; without it, all that have an area within the window
    """
    boxes, size = objects[:, BOX], window[2:] - window[:2]
    moved = ((boxes.reshape(-1, 2, 2) - window[:2]) / size).clip(0, 1).reshape(-1, 4)
    stays = (moved[:, 2:] > moved[:, :2]).all(1)
    if emit is not None:
        stays &= _emitted(boxes, window, emit)
    found = objects[stays]
    found[:, BOX] = moved[stays]
    return found


def _emitted(boxes: np.ndarray, window: np.ndarray, emit: caffe_pb2.EmitConstraint) -> np.ndarray:
    """Whether each box (G, 4) has its centre, or a fraction above `emit_overlap` of its area, in the window."""
    if emit.emit_type == caffe_pb2.EmitConstraint.CENTER:
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        return ((centres >= window[:2]) & (centres <= window[2:])).all(1)
    return shares_within(boxes, window) > emit.emit_overlap
