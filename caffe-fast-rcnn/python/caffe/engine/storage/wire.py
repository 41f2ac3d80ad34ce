"""Protobuf's wire format, as far as files with large blobs need it.

Reading walks the memory-mapped bytes and finds where each payload lies; writing lists the chunks of a
message, so that its length is known before a tensor is fetched from its device. Neither holds a second copy
of the weights.
https://protobuf.dev/programming-guides/encoding
"""
from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, NamedTuple

import numpy as np
import torch

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5

# BlobProto of caffe.proto
_LEGACY_DIMS = (1, 2, 3, 4)     # num, channels, height, width
_DATA, _DIFF, _SHAPE, _DOUBLE_DATA, _DOUBLE_DIFF = 5, 6, 7, 8, 9
_RAW_DATA = 12                  # NVIDIA Caffe: 16-bit floats

_KINDS = ((b"\x89PNG", "a PNG image"), (b"\xff\xd8\xff", "a JPEG image"),
          (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
          (b"PK\x03\x04", "a zip archive or a PyTorch checkpoint"), (b"\x1f\x8b", "a gzip archive"),
          (b"BZh", "a bzip2 archive"), (b"\x80\x02", "a Python pickle"), (b"\x80\x04", "a Python pickle"))
_CONTROL = bytes(code for code in range(32) if code not in b"\t\n\f\r")


class WireError(ValueError):
    """A file is damaged, cut short or of another kind. The message names the file and the reason."""


def map_file(path: str | os.PathLike) -> mmap.mmap:
    """Map a binary protobuf file into memory. Raises WireError for empty files and other kinds of files."""
    if os.path.getsize(path) == 0:
        raise WireError(f"{path}: the file is empty")
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    kind = _other_kind(data[:1024])
    if kind:
        raise WireError(f"{path}: this is {kind}, not a binary protobuf file")
    return data


def _other_kind(head: bytes) -> str | None:
    for signature, kind in _KINDS:
        if head.startswith(signature):
            return kind
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer (fetch the real file with git lfs pull)"
    if head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        return "an HTML page (a download that failed?)"
    if head.isascii() and not set(head) & set(_CONTROL):
        return "text (a prototxt?)"
    return None


# ---- reading
class Field(NamedTuple):
    """One field of a message: its payload lies in bytes begin..end; `value` is set for varints."""

    number: int
    kind: int
    begin: int
    end: int
    value: int


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise WireError(f"damaged or cut short: no number ends at byte {at}")


def next_field(data: mmap.mmap, at: int, end: int) -> Field:
    """Read the field that starts at byte `at` of a message that ends before byte `end`. Raises WireError."""
    start = at
    tag, at = _varint(data, at, end)
    number, kind, value = tag >> 3, tag & 7, 0
    if kind == VARINT:
        begin = at
        value, at = _varint(data, at, end)
        return Field(number, kind, begin, at, value)
    if kind == LENGTH:
        size, at = _varint(data, at, end)
    elif kind in (FIXED32, FIXED64):
        size = 4 if kind == FIXED32 else 8
    else:
        raise WireError(f"damaged, or no protobuf file: field kind {kind} at byte {start}")
    if number == 0:
        raise WireError(f"damaged, or no protobuf file: field number 0 at byte {start}")
    if at + size > end:
        raise WireError(f"damaged or cut short: field {number} at byte {start} should have {size} bytes, "
                        f"there are {end - at}")
    return Field(number, kind, at, at + size, value)


def fields(data: mmap.mmap, begin: int, end: int) -> Iterator[Field]:
    """Walk the fields of the message in bytes begin..end."""
    while begin < end:
        field = next_field(data, begin, end)
        yield field
        begin = field.end


def text(data: mmap.mmap, field: Field) -> str:
    """Decode a string field."""
    return data[field.begin:field.end].decode("utf-8", "replace")


@dataclass
class StoredBlob:
    """A blob in a file: flat values (a read-only view of the file where possible) and its shape.

    `legacy` marks the four numbers num, channels, height, width of files from before 2015, in which a bias of
    length N is (1, 1, 1, N).
    """

    values: np.ndarray
    shape: tuple[int, ...]
    legacy: bool = False

    def fits(self, shape: tuple[int, ...]) -> bool:
        """True where a blob of this shape takes the values: same shape, legacy ones up to leading ones."""
        if self.legacy:
            return len(shape) <= 4 and (1,) * (4 - len(shape)) + tuple(shape) == self.shape
        return tuple(shape) == self.shape

    @property
    def array(self) -> np.ndarray:
        """The values in their shape."""
        return self.values.reshape(self.shape)

    def tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """A copy of the values in another shape, on the CPU."""
        copy = np.array(self.values, np.float64 if dtype == torch.float64 else np.float32)
        return torch.from_numpy(copy).reshape(shape)


def read_blob(data: mmap.mmap, begin: int, end: int) -> StoredBlob:
    """Read the BlobProto in bytes begin..end. Raises WireError where shape and number of values disagree."""
    legacy: dict[int, int] = {}
    dims: list[int] | None = None
    singles: list[np.ndarray] = []
    doubles: list[np.ndarray] = []
    while begin < end:
        field = next_field(data, begin, end)
        begin = field.end
        if field.number in _LEGACY_DIMS and field.kind == VARINT:
            legacy[field.number] = field.value
        elif field.number == _SHAPE:
            dims = (dims or []) + _read_dims(data, field)
        elif field.number in (_DATA, _DOUBLE_DATA):
            values, begin = _read_values(data, field, end)
            (singles if field.number == _DATA else doubles).append(values)
        elif field.number == _RAW_DATA:
            raise WireError("the values are raw (half-precision) floats, a format of NVIDIA Caffe; save the "
                            "net there in 32-bit floats")
    values = _join(doubles or singles)
    shape = tuple(legacy.get(number, 0) for number in _LEGACY_DIMS) if legacy else tuple(dims or ())
    if math.prod(shape) != values.size:
        raise WireError(f"shape {shape} needs {math.prod(shape)} values, the file holds {values.size}")
    return StoredBlob(values, shape, bool(legacy))


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
                dim, at = _varint(data, at, field.end)
                dims.append(dim)
    return dims


def _read_values(data: mmap.mmap, field: Field, end: int) -> tuple[np.ndarray, int]:
    """The values of a packed chunk, or of a run of unpacked ones that starts at `field`; where they end."""
    dtype = np.dtype("<f4" if field.number == _DATA else "<f8")
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


# ---- writing
Chunk = bytes | torch.Tensor


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint(number: int, value: int) -> bytes:
    """A field that holds a non-negative integer."""
    return _encode_varint(number << 3 | VARINT) + _encode_varint(value)


def message(number: int, chunks: Iterable[Chunk]) -> list[Chunk]:
    """A field that holds the chunks: a message, a string or packed values."""
    chunks = list(chunks)
    size = sum(len(chunk) if isinstance(chunk, bytes) else chunk.nbytes for chunk in chunks)
    return [_encode_varint(number << 3 | LENGTH) + _encode_varint(size), *chunks]


def blob(values: torch.Tensor, gradient: torch.Tensor | None = None) -> list[Chunk]:
    """The chunks of a BlobProto. One without axes is written without a shape, as Caffe does."""
    double = values.dtype == torch.float64
    chunks: list[Chunk] = []
    if values.dim():
        chunks += message(_SHAPE, message(1, [b"".join(map(_encode_varint, values.shape))]))
    chunks += message(_DOUBLE_DATA if double else _DATA, [values])
    if gradient is not None:
        chunks += message(_DOUBLE_DIFF if double else _DIFF, [gradient])
    return chunks


def write(file: IO[bytes], chunks: Iterable[Chunk]) -> None:
    """Write chunks one by one; a tensor leaves its device only now."""
    for chunk in chunks:
        if isinstance(chunk, torch.Tensor):
            array = chunk.detach().cpu().contiguous().numpy().reshape(-1)
            file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
        else:
            file.write(chunk)
