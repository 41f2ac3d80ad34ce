"""Protobuf's wire format, as needed for files with large blobs.

Reading walks the memory-mapped bytes and locates each payload; writing lists the chunks of a message, so that its
length is known before any tensor is fetched from its device. Neither makes a second copy of the weights.
https://protobuf.dev/programming-guides/encoding
"""
from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple

import torch

from ...errors import WireError
from ...proto.binary import other_kind

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_PIECE = 1 << 26        # bytes


def map_file(path: str | os.PathLike) -> mmap.mmap:
    """Map a binary protobuf file into memory. Raises WireError for empty files and other kinds of files."""
    if os.path.getsize(path) == 0:
        raise WireError(f"{path}: the file is empty")
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    kind = other_kind(data[:1024])
    if kind:
        raise WireError(f"{path}: this is {kind}, not a binary protobuf file")
    return data


# ---- reading
class Field(NamedTuple):
    """One field of a message: its payload lies in bytes begin..end; `value` is set for varints."""

    number: int
    kind: int
    begin: int
    end: int
    value: int


def read_varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """Read a varint without a tag at byte `at`; returns the number and where it ends. Raises WireError."""
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
    tag, at = read_varint(data, at, end)
    number, kind, value = tag >> 3, tag & 7, 0
    if kind == VARINT:
        begin = at
        value, at = read_varint(data, at, end)
        return Field(number, kind, begin, at, value)
    if kind == LENGTH:
        size, at = read_varint(data, at, end)
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
    """Yield the fields of the message in bytes begin..end."""
    while begin < end:
        field = next_field(data, begin, end)
        yield field
        begin = field.end


def text(data: mmap.mmap, field: Field) -> str:
    """Decode a string field."""
    return data[field.begin:field.end].decode("utf-8", "replace")


# ---- writing
Chunk = bytes | torch.Tensor


def encode_varint(value: int) -> bytes:
    """Encode a non-negative number as a varint without a tag."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint(number: int, value: int) -> bytes:
    """Encode a field that holds a non-negative integer."""
    return encode_varint(number << 3 | VARINT) + encode_varint(value)


def message(number: int, chunks: Iterable[Chunk]) -> list[Chunk]:
    """Encode a field that holds the chunks: a message, a string or packed values."""
    chunks = list(chunks)
    size = sum(len(chunk) if isinstance(chunk, bytes) else chunk.nbytes for chunk in chunks)
    return [encode_varint(number << 3 | LENGTH) + encode_varint(size), *chunks]


def write(file: IO[bytes], chunks: Iterable[Chunk]) -> None:
    """Write chunks one by one; tensors are fetched from their device only here."""
    for chunk in chunks:
        if isinstance(chunk, torch.Tensor):
            array = chunk.detach().cpu().contiguous().numpy().reshape(-1)
            _write_values(file, array.astype(array.dtype.newbyteorder("<"), copy=False).view("u1").data)
        else:
            file.write(chunk)


def _write_values(file: IO[bytes], values: memoryview) -> None:
    """Write piece by piece and start writeback of each piece at once, to leave less for the final fsync."""
    for start in range(0, len(values), _PIECE):
        file.write(values[start:start + _PIECE])
        if hasattr(os, "posix_fadvise") and len(values) - start >= _PIECE:
            file.flush()
            os.posix_fadvise(file.fileno(), file.tell() - _PIECE, _PIECE, os.POSIX_FADV_DONTNEED)
