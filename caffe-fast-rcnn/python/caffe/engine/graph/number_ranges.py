"""Rejects numbers in prototxts that no layer can use: NaN, infinite, or too large for Caffe's integers."""
from __future__ import annotations

import math
from collections.abc import Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from ..layer import Layer

_FLOATS = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)
_MOST = 2**31 - 1           # layers keep sizes in C's int
_MAY_BE_INFINITE = {"clip_param.min", "clip_param.max", "threshold_param.threshold"}


def check_numbers(layer: Layer) -> None:
    """Raise LayerError for a setting that is not finite, or an unsigned one above 2^31 - 1.

    A float field reads 1e39 as infinity.
    """
    for name, field, value in _numbers(layer.param, ""):
        if field.cpp_type == FieldDescriptor.CPPTYPE_UINT32 and value > _MOST:
            layer.fail(f"{name}: expected at most {_MOST}, found {value}")
        if field.cpp_type in _FLOATS and not math.isfinite(value) \
                and (name not in _MAY_BE_INFINITE or math.isnan(value)):
            layer.fail(f"{name}: expected a finite number, found {value}")


def _numbers(message: Message, prefix: str) -> Iterator[tuple[str, FieldDescriptor, float]]:
    """The path, field and value of each number, except those in `blobs`, which are weights."""
    for field, value in message.ListFields():
        if field.name == "blobs":
            continue
        for item in value if hasattr(value, "append") or hasattr(value, "add") else [value]:
            if isinstance(item, Message):
                yield from _numbers(item, f"{prefix}{field.name}.")
            elif not isinstance(item, str | bytes):
                yield prefix + field.name, field, item
