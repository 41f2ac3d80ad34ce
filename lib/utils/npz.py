"""Files of several arrays (.npz): written atomically, read without pickle."""
from __future__ import annotations

import errno
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import IO, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from utils.files import atomic_path

Value = TypeVar("Value")

_CHUNK = 1 << 20
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_DAMAGED = (AttributeError, EOFError, KeyError, NotImplementedError, TypeError, ValueError, struct.error,
            tokenize.TokenError, zipfile.BadZipFile, zlib.error)     # what NumPy and zipfile raise for damaged files
_LOCAL_HEADER = 30      # bytes before the name; its length and that of the extra field are at offset 26


class Rows:
    """An array for `write_npz` that is written part by part and need not be in memory as a whole.

    parts      arrays (n, *row_shape), optionally with additional axes of length 1
    row_shape  shape of a row; dtype  of the array
    counts     (I,) number of rows of each part
    """

    def __init__(self, parts: Sequence[np.ndarray], row_shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.parts, self.row_shape, self.dtype = parts, row_shape, np.dtype(dtype)
        self.counts = np.array([len(part) for part in parts], np.int64)

    def write(self, file: IO[bytes]) -> None:
        """Write the array as a .npy file."""
        np.lib.format.write_array_header_1_0(file, {"descr": self.dtype.str, "fortran_order": False,
                                                    "shape": (int(self.counts.sum()), *self.row_shape)})
        for part in self.parts:
            file.write(np.ascontiguousarray(part, self.dtype).reshape(len(part), *self.row_shape).tobytes())


def write_npz(path: str | os.PathLike, **arrays: np.ndarray | Rows) -> None:
    """Write the named arrays; an existing file is replaced atomically."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                if isinstance(array, Rows):
                    array.write(member)
                else:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def read_npz(path: str | os.PathLike, content: str, *names: str) -> list[np.ndarray]:
    """Read the named arrays of a file. Raises ValueError that names the expected `content` if that fails."""
    return _explained(path, content, lambda: _read(path, names))


def map_npz(path: str | os.PathLike, content: str, *names: str) -> list[np.ndarray]:
    """As `read_npz`, but the arrays are read-only views of the memory-mapped file and take no memory.

    Their checksums are verified first, which reads the file once. Arrays that cannot be mapped, such as compressed
    ones, are read into memory.
    """
    return _explained(path, content, lambda: _map(path, names))


def require_kinds(path: str | os.PathLike, content: str, **arrays: tuple[np.ndarray, str]) -> None:
    """Raise ValueError that names the expected `content` unless each array's `dtype.kind` is among the given ones."""
    for name, (array, kinds) in arrays.items():
        if array.dtype.kind not in kinds:
            raise ValueError(f"{path}: not a file of {content}: {name} are of type {array.dtype}")


def texts(values: Iterable[object]) -> np.ndarray:
    """An array of strings, such as image names, that can be stored without pickle."""
    return np.array([str(value) for value in values], dtype=np.str_)


def _explained(path: str | os.PathLike, content: str, read: Callable[[], Value]) -> Value:
    try:
        return read()
    except _DAMAGED as error:
        raise ValueError(f"{path}: not a file of {content}: {error}") from error
    except OSError as error:
        if error.filename is not None or error.errno != errno.EINVAL:
            raise
        raise ValueError(f"{path}: not a file of {content}: it has an offset before the file's start") from error


def _read(path: str | os.PathLike, names: Iterable[str]) -> list[np.ndarray]:
    with open(path, "rb") as stream:
        if not zipfile.is_zipfile(stream):      # NumPy would advise to unpickle it
            raise zipfile.BadZipFile("File is not a zip file")
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as file:
            return [file[name] for name in names]


def _map(path: str | os.PathLike, names: Iterable[str]) -> list[np.ndarray]:
    with open(path, "rb") as stream, zipfile.ZipFile(stream) as archive:
        members = [archive.getinfo(f"{name}.npy") for name in names]
        for member in members:
            _check(archive, member)
        return [_map_member(stream, archive, member) for member in members]


def _check(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Read a member from beginning to end; raises BadZipFile if its checksum is wrong."""
    with archive.open(member) as file:
        while file.read(_CHUNK):
            pass


def _map_member(stream: IO[bytes], archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        read_header = _HEADERS.get(np.lib.format.read_magic(file))
        shape, fortran_order, dtype = read_header(file) if read_header else ((), True, np.dtype(object))
        header_size = file.tell()
    if fortran_order or dtype.hasobject or member.compress_type != zipfile.ZIP_STORED or not math.prod(shape):
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    found, expected = member.file_size - header_size, math.prod(shape) * dtype.itemsize
    if found != expected:
        raise ValueError(f"{member.filename} has {found} bytes, expected {expected}")
    return np.memmap(stream, dtype, "r", _data_offset(stream, member) + header_size, shape).view(np.ndarray)


def _data_offset(stream: IO[bytes], member: zipfile.ZipInfo) -> int:
    """Offset of a stored member's bytes in the file."""
    stream.seek(member.header_offset + 26)
    lengths = struct.unpack("<HH", stream.read(4))
    return member.header_offset + _LOCAL_HEADER + sum(lengths)
