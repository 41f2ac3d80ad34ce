"""BlobProto: a parameter's array in a file, in every format that Caffe has written since 2013."""
from __future__ import annotations

import math
import mmap
from dataclasses import dataclass

import numpy as np
import torch

from ...errors import WireError
from ...proto import caffe_pb2
from ...proto.binary import blob_values, raw_values
from ..blob import Blob
from .wire import (
    LENGTH,
    VARINT,
    Chunk,
    Field,
    encode_varint,
    fields,
    message,
    next_field,
    read_varint,
    varint,
)

# Field numbers in caffe.proto
_LEGACY_DIMS = (1, 2, 3, 4)     # num, channels, height, width
_DATA, _DIFF, _SHAPE, _DOUBLE_DATA, _DOUBLE_DIFF = 5, 6, 7, 8, 9
_SINGLES, _DOUBLES = (_DATA, _DIFF), (_DOUBLE_DATA, _DOUBLE_DIFF)
_RAW_DATA_TYPE, _RAW_DATA = 10, 12     # NVIDIA Caffe: floats of 16, 32 or 64 bits


@dataclass
class StoredBlob:
    """A blob in a file: flat values (a read-only view of the file if possible; float16, 32 or 64) and its shape.

    `legacy` marks the shape (num, channels, height, width) in files from before 2015, where a bias of length N is
    (1, 1, 1, N). `gradient` holds the flat gradient, if the file has it (`snapshot_diff: true`).
    """

    values: np.ndarray
    shape: tuple[int, ...]
    legacy: bool = False
    gradient: np.ndarray | None = None

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a blob of this shape can take the values: shapes are equal, or if legacy, up to leading 1s."""
        if self.legacy:
            return len(shape) <= 4 and (1,) * (4 - len(shape)) + tuple(shape) == self.shape
        return tuple(shape) == self.shape

    @property
    def array(self) -> np.ndarray:
        """The values in their shape; float32 if the file holds float16."""
        values = self.values.astype(np.float32) if self.is_half else self.values
        return values.reshape(self.shape)

    @property
    def is_half(self) -> bool:
        """Whether the file holds 16-bit floats."""
        return self.values.dtype.itemsize == 2

    def copy_to(self, blob: Blob) -> None:
        """Overwrite the values of a blob of the same size, and its gradient if the file has one."""
        self._copy_values_to(blob.to_update())
        if self.gradient is not None:
            blob.grad = _tensor(self.gradient, blob.shape, blob.tensor.dtype)

    def _copy_values_to(self, tensor: torch.Tensor) -> None:
        """On the CPU directly from the file, without a second copy; the tensor is contiguous."""
        if tensor.device.type == "cpu":
            np.copyto(tensor.numpy().reshape(-1), self.values, casting="same_kind")
        else:
            tensor.copy_(self.tensor(tuple(tensor.shape), tensor.dtype))

    def tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A copy of the values in another shape, on the CPU."""
        return _tensor(self.values, shape, dtype)


def _tensor(values: np.ndarray, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    copy = np.array(values, np.float64 if dtype == torch.float64 else np.float32)
    return torch.from_numpy(copy).reshape(shape)


def read_blob(data: mmap.mmap, begin: int, end: int) -> StoredBlob:
    """Read the BlobProto in bytes begin..end. Raises WireError if shape and number of values disagree."""
    legacy: dict[int, int] = {}
    dims: list[int] | None = None
    chunks: dict[int, list[np.ndarray]] = {number: [] for number in (*_SINGLES, *_DOUBLES)}
    raw: Field | None = None
    raw_type: int = caffe_pb2.DOUBLE         # the default of raw_data_type
    while begin < end:
        field = next_field(data, begin, end)
        begin = field.end
        if field.number in _LEGACY_DIMS and field.kind == VARINT:
            legacy[field.number] = field.value
        elif field.number == _SHAPE:
            dims = (dims or []) + _read_dims(data, field)
        elif field.number in chunks:
            chunk, begin = _read_values(data, field, end)
            chunks[field.number].append(chunk)
        elif field.number == _RAW_DATA_TYPE and field.kind == VARINT:
            raw_type = field.value
        elif field.number == _RAW_DATA and field.kind == LENGTH:
            raw = field
    values = _join(chunks[_DOUBLE_DATA] or chunks[_DATA]) if raw is None else \
        raw_values(raw_type, data, raw.end - raw.begin, raw.begin)
    shape = tuple(legacy.get(number, 0) for number in _LEGACY_DIMS) if legacy else tuple(dims or ())
    return _checked(StoredBlob(values, shape, bool(legacy), _or_none(_join(chunks[_DOUBLE_DIFF] or chunks[_DIFF]))))


def _checked(blob: StoredBlob) -> StoredBlob:
    if math.prod(blob.shape) != blob.values.size:
        raise WireError(f"shape {blob.shape} needs {math.prod(blob.shape)} values, the file holds {blob.values.size}")
    if blob.gradient is not None and blob.gradient.size != blob.values.size:
        raise WireError(f"{blob.values.size} values have a gradient of {blob.gradient.size}")
    return blob


def _or_none(gradient: np.ndarray) -> np.ndarray | None:
    """The gradient, unless it is empty."""
    return gradient if gradient.size else None


def stored_blob(message: caffe_pb2.BlobProto) -> StoredBlob:
    """The blob of a parsed message. Raises WireError if shape and number of values disagree."""
    values = blob_values(message)
    legacy = any(message.HasField(name) for name in ("num", "channels", "height", "width"))
    old, new = (message.num, message.channels, message.height, message.width), tuple(message.shape.dim)
    return _checked(StoredBlob(values, old if legacy else new, legacy, _or_none(blob_values(message, of_diff=True))))


def _join(chunks: list[np.ndarray]) -> np.ndarray:
    if len(chunks) == 1:
        return chunks[0]
    return np.concatenate(chunks) if chunks else np.zeros(0, np.float32)


def _read_dims(data: mmap.mmap, shape: Field) -> list[int]:
    dims = []
    for field in fields(data, shape.begin, shape.end):
        if field.number == 1 and field.kind == VARINT:
            dims.append(field.value)
        elif field.number == 1 and field.kind == LENGTH:        # packed
            at = field.begin
            while at < field.end:
                dim, at = read_varint(data, at, field.end)
                dims.append(dim)
    return dims


def _read_values(data: mmap.mmap, field: Field, end: int) -> tuple[np.ndarray, int]:
    """Read a packed chunk, or a run of unpacked values starting at `field`; returns the values and where they end."""
    dtype = np.dtype("<f4" if field.number in _SINGLES else "<f8")
    if field.kind == LENGTH:
        count, rest = divmod(field.end - field.begin, dtype.itemsize)
        if rest:
            raise WireError(f"damaged: {field.end - field.begin} bytes are no whole number of values")
        return np.frombuffer(data, dtype, count, field.begin), field.end
    if field.end - field.begin != dtype.itemsize or field.kind == VARINT:
        raise WireError(f"damaged: field kind {field.kind} where numbers were expected")
    record = np.dtype([("tag", "u1"), ("value", dtype)])
    start = field.begin - 1                                      # both tags are one byte long
    records = np.frombuffer(data, record, (end - start) // record.itemsize, start)
    others = np.flatnonzero(records["tag"] != records["tag"][0])
    count = int(others[0]) if others.size else len(records)
    return np.ascontiguousarray(records["value"][:count]), start + count * record.itemsize


def blob_chunks(values: torch.Tensor, gradient: torch.Tensor | None = None) -> list[Chunk]:
    """The chunks of a BlobProto; 16-bit values are raw. A scalar has no shape, as Caffe writes it."""
    double = values.dtype == torch.float64
    chunks: list[Chunk] = []
    if values.dim():
        chunks += message(_SHAPE, message(1, [b"".join(map(encode_varint, values.shape))]))
    if values.dtype == torch.float16:
        chunks += [varint(_RAW_DATA_TYPE, caffe_pb2.FLOAT16), *message(_RAW_DATA, [values])]
    else:
        chunks += message(_DOUBLE_DATA if double else _DATA, [values])
    if gradient is not None:
        chunks += message(_DOUBLE_DIFF if double else _DIFF, [gradient])
    return chunks
