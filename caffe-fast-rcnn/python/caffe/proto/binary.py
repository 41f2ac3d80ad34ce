"""Binary message files: detects other file formats, reads the values of a BlobProto and `.binaryproto` files."""
from __future__ import annotations

import math
import os

import numpy as np
from google.protobuf.message import DecodeError

from ..errors import WireError
from . import caffe_pb2

_KINDS = ((b"\x89PNG", "a PNG image"), (b"\xff\xd8\xff", "a JPEG image"),
          (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
          (b"PK\x03\x04", "a zip archive or a PyTorch checkpoint"), (b"\x1f\x8b", "a gzip archive"),
          (b"BZh", "a bzip2 archive"), (b"\x80\x02", "a Python pickle"), (b"\x80\x04", "a Python pickle"))
_CONTROL = bytes(code for code in range(32) if code not in b"\t\n\f\r")
_LFS_SIGNATURE = b"version https://git-lfs"
LFS_POINTER = "a Git LFS pointer (fetch the real file with git lfs pull)"

# Raw values by their `Type`, little-endian
_RAW_TYPES: dict[int, np.dtype] = {
    caffe_pb2.DOUBLE: np.dtype("<f8"), caffe_pb2.FLOAT: np.dtype("<f4"), caffe_pb2.FLOAT16: np.dtype("<f2")}


def other_kind(head: bytes) -> str | None:
    """The kind of a file that begins with `head`, such as 'a PNG image'; None if it may be a binary protobuf file."""
    for signature, kind in _KINDS:
        if head.startswith(signature):
            return kind
    if head.startswith(_LFS_SIGNATURE):
        return LFS_POINTER
    if head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        return "an HTML page (a download that failed?)"
    if head.isascii() and not set(head) & set(_CONTROL):
        return "text (a prototxt?)"
    return None


def is_lfs_pointer(path: str | os.PathLike) -> bool:
    """Whether the file is a pointer that Git LFS has left in place of the real file."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(_LFS_SIGNATURE)) == _LFS_SIGNATURE


def raw_values(kind: int, data, count: int, offset: int) -> np.ndarray:
    """A read-only view of `count` bytes of `raw_data` of this Type. Raises WireError."""
    dtype = _RAW_TYPES.get(kind)
    if dtype is None:
        name = caffe_pb2.Type.Name(kind) if kind in caffe_pb2.Type.values() else kind
        raise WireError(f"its raw values are of the type {name}, no floats")
    if count % dtype.itemsize:
        raise WireError(f"damaged: {count} bytes are no whole number of values")
    return np.frombuffer(data, dtype, count // dtype.itemsize, offset)


def blob_values(blob: caffe_pb2.BlobProto, of_diff: bool = False) -> np.ndarray:
    """The values (or the gradient) of a BlobProto, flat: float64 if it holds doubles, else float32 or float16."""
    kind, raw, doubles, singles = (
        (blob.raw_diff_type, blob.raw_diff, blob.double_diff, blob.diff) if of_diff
        else (blob.raw_data_type, blob.raw_data, blob.double_data, blob.data))
    if raw:
        return raw_values(kind, raw, len(raw), 0)
    return np.array(doubles, np.float64) if doubles else np.array(singles, np.float32)


def read_binaryproto(path: str | os.PathLike) -> np.ndarray:
    """The array of a `.binaryproto` file, float32, with one axis if the file states no shape. Raises WireError."""
    try:
        with open(path, "rb") as file:
            data = file.read()
        if kind := other_kind(data[:1024]) if data else "an empty file":
            raise WireError(f"this is {kind}, not a binaryproto")
        return _array(caffe_pb2.BlobProto.FromString(data))
    except OSError as error:
        raise WireError(f"{path}: {error.strerror}") from None
    except DecodeError:
        raise WireError(f"{path}: damaged, cut short, or no binaryproto") from None
    except WireError as error:
        raise WireError(f"{path}: {error}") from None


def _array(blob: caffe_pb2.BlobProto) -> np.ndarray:
    values = blob_values(blob).astype(np.float32)
    shape = tuple(blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width)
    if not values.size:
        raise WireError("no binaryproto of an array: it holds no values")
    if not any(shape):
        return values
    if min(shape) < 0 or math.prod(shape) != values.size:
        raise WireError(f"damaged: shape {shape} with {values.size} values")
    return values.reshape(shape)
