"""Datum records: images, or arrays, in databases. Errors continue a sentence that begins with the record's name."""
from __future__ import annotations

import math

import numpy as np
from google.protobuf.message import DecodeError

from ...errors import WireError
from ...proto import caffe_pb2
from .image_files import decode_image
from .images import planes

_ANNOTATED_DATUM = b"\x0a"      # begins with a message, in field 1


def parse_datum(value: bytes) -> caffe_pb2.Datum:
    """The Datum of a record. Raises WireError for one that is none, and for one without a size or values."""
    try:
        datum = caffe_pb2.Datum.FromString(value)
    except DecodeError as error:
        raise WireError(f"is no Datum: {error}") from None
    check_datum(datum, "; it looks like an AnnotatedDatum of SSD, which layers of type AnnotatedData read"
                if value.startswith(_ANNOTATED_DATUM) else "")
    return datum


def check_datum(datum: caffe_pb2.Datum, hint: str = "") -> None:
    """Raises WireError for a Datum without a size or values."""
    if datum.encoded:
        return
    shape = (datum.channels, datum.height, datum.width)
    if min(shape) < 1:
        raise WireError(f"is no Datum with channels, height and width; they are {shape}{hint}")
    found = len(datum.data) or len(datum.float_data)
    if found != math.prod(shape):
        raise WireError(f"of shape {shape} has {found} values")


def datum_pixels(datum: caffe_pb2.Datum, flag: str = "UNCHANGED") -> np.ndarray:
    """The values of a parsed Datum (channels, height, width).

    An image file is decoded as `decode_image` does with the flag. Raises WireError if that is not possible.
    """
    if datum.encoded:
        try:
            return planes(decode_image(datum.data, flag))
        except WireError as error:
            raise WireError(f"holds no image: {error}") from None
    values = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float32)
    return values.reshape(datum.channels, datum.height, datum.width)
