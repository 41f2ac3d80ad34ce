"""Datum records of databases: images or arrays. Error messages continue a sentence that begins with the record."""
from __future__ import annotations

import math

import numpy as np
from google.protobuf.message import DecodeError

from ...errors import WireError
from ...proto import caffe_pb2
from .image_files import decode_image
from .images import planes

_ANNOTATED_DATUM = b"\x0a"      # its first byte: field 1 is a message


def parse_datum(value: bytes) -> caffe_pb2.Datum:
    """Parse a record. Raises WireError if it is not a Datum or has no size or values."""
    try:
        datum = caffe_pb2.Datum.FromString(value)
    except DecodeError as error:
        raise WireError(f"is no Datum: {error}") from None
    check_datum(datum, "; it looks like an AnnotatedDatum of SSD, which layers of type AnnotatedData read"
                if value.startswith(_ANNOTATED_DATUM) else "")
    return datum


def check_datum(datum: caffe_pb2.Datum, hint: str = "") -> None:
    """Raise WireError for a Datum without a size or values."""
    if datum.encoded:
        return
    shape = (datum.channels, datum.height, datum.width)
    if min(shape) < 1:
        raise WireError(f"is no Datum with channels, height and width; they are {shape}{hint}")
    found = len(datum.data) or len(datum.float_data)
    if found != math.prod(shape):
        raise WireError(f"of shape {shape} has {found} values")


def datum_pixels(datum: caffe_pb2.Datum, flag: str = "UNCHANGED") -> np.ndarray:
    """The values of a parsed Datum, (channels, height, width).

    An encoded image is decoded as in `decode_image`, with this flag. Raises WireError if that fails.
    """
    if datum.encoded:
        try:
            return planes(decode_image(datum.data, flag))
        except WireError as error:
            raise WireError(f"holds no image: {error}") from None
    values = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float32)
    return values.reshape(datum.channels, datum.height, datum.width)
