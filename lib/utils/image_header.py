"""Reads an image's size from its file header, and how the decoder rotates or mirrors it by its EXIF orientation."""
from __future__ import annotations

import functools
import os
import re
import struct
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np

from utils.embedded_images import open_image

Size = tuple[int, int]      # width, height

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif",
                  ".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".jp2", ".j2k", ".avif", ".ras", ".sr")  # read as 8 bits

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_HEAD = 4096        # bytes that hold the header of the other formats
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}       # JPEG's markers of frame headers
_ALONE = {0x01, *range(0xD0, 0xD8)}         # markers without a length


class Header(NamedTuple):
    """What a file's header says about the image, before its EXIF orientation is applied."""

    size: Size
    exif: tuple[bytes, ...] = ()    # the JPEG segments and PNG chunks that may hold an EXIF tag
    exact: bool = False             # whether the decoder returns this size; otherwise it is only an estimate
    scan: int = 0                   # where a JPEG file's first scan begins


def read_header(path: str | os.PathLike) -> Header | None:
    """The header of an image file; None if it is unknown or broken. Raises OSError, and as `open_image`."""
    with open_image(path) as file:
        return header_in(file)


def header_in(file: BinaryIO) -> Header | None:
    """The header of an image in an open file; None if it is unknown or broken."""
    start = file.read(8)
    file.seek(0)
    try:
        if start == _PNG:
            return _png(file)
        if start[:2] == _JPEG:
            return _jpeg(file)
        return _other(file)
    except struct.error:        # the file is too short
        return None


def orientation_of(header: Header) -> int:
    """The EXIF orientation that the decoder applies: 1 for none; 5 to 8 swap width and height.

    Decoders differ in which tags they accept, so OpenCV decodes a tiny image with the same tags.
    """
    if not header.exif:
        return 1
    suffix, at, probe = (".png", 33, _probe(".png")) if header.exif[0][4:8] == b"eXIf" else (".jpg", 2, _probe(".jpg"))
    data = probe[:at] + b"".join(header.exif) + probe[at:]
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return 1
    bright = np.asarray(image)[[0, 0, -1, -1], [0, -1, -1, 0], 0] > 128     # where the bright corner is now
    return int(bright.argmax()) + (5 if image.shape[0] > image.shape[1] else 1)


def turned(size: Size, orientation: int) -> Size:
    """The size of an image after its orientation is applied."""
    return size[::-1] if orientation >= 5 else size


def turned_boxes(boxes: np.ndarray, size: Size, orientation: int) -> np.ndarray:
    """Transform boxes (N, 4), zero-based inclusive corners in an image of this size, by the image's orientation."""
    x, y = boxes[:, 0::2], boxes[:, 1::2]
    width, height = size
    x, y = {1: (x, y), 2: (width - 1 - x, y), 3: (width - 1 - x, height - 1 - y), 4: (x, height - 1 - y), 5: (y, x),
            6: (height - 1 - y, x), 7: (height - 1 - y, width - 1 - x), 8: (y, width - 1 - x)}[orientation]
    return np.column_stack([x.min(axis=1), y.min(axis=1), x.max(axis=1), y.max(axis=1)])


@functools.cache
def _probe(suffix: str) -> bytes:
    """An image file of 32 x 16 pixels whose upper left quarter is bright."""
    image = np.zeros((16, 32), np.uint8)
    image[:8, :16] = 255
    return bytes(np.asarray(cv2.imencode(suffix, image)[1]).tobytes())


def _unpack(layout: str, data: bytes, offset: int = 0) -> tuple[int, ...]:
    return struct.unpack_from(layout, data, offset)


def _jpeg(file: BinaryIO) -> Header | None:
    """Read the segments up to the first scan (T.81, table B.1): the frame header, and APP1 with the EXIF tags."""
    file.seek(2)
    size, exif, skipped = None, [], 0
    while skipped < _HEAD:
        marker = file.read(2)
        if len(marker) < 2:
            return None
        if marker[0] != 0xFF or marker[1] == 0xFF:      # the decoder skips these, too
            file.seek(-1, os.SEEK_CUR)
            skipped += 1
            continue
        if marker[1] == 0xDA:
            return Header(size, tuple(exif), True, file.tell()) if size and all(size) else None
        if marker[1] in _ALONE:
            continue
        length = file.read(2)
        body = _unpack(">H", length)[0] - 2
        if body < 0:
            return None
        if marker[1] in _FRAMES:
            height, width = _unpack(">xHH", file.read(body))
            size = width, height
        elif marker[1] == 0xE1:
            exif.append(marker + length + file.read(body))
        else:
            file.seek(body, os.SEEK_CUR)
    return None


def _png(file: BinaryIO) -> Header | None:
    head = file.read(33)
    if head[12:16] != b"IHDR":
        return None
    width, height = _unpack(">II", head, 16)
    exif = []
    while len(start := file.read(8)) == 8 and start[4:] != b"IEND" and start[4:].isalpha():
        length = _unpack(">I", start)[0]
        if start[4:] == b"eXIf":
            exif.append(start + file.read(length + 4))
        else:
            file.seek(length + 4, os.SEEK_CUR)
    return Header((width, height), tuple(exif), True) if width and height else None


def _other(file: BinaryIO) -> Header | None:
    head = file.read(_HEAD)
    for magic, read in _READERS:
        if re.match(magic, head, re.DOTALL):
            size = read(head, file)
            return Header((abs(size[0]), abs(size[1]))) if size else None
    return None


def _bmp(head: bytes, file: BinaryIO) -> Size:
    width, height = _unpack("<HH" if head[14:15] == b"\x0c" else "<ii", head, 18)
    return width, height


def _webp(head: bytes, file: BinaryIO) -> Size:
    if head[12:16] == b"VP8 ":
        width, height = _unpack("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    if head[12:16] == b"VP8L":
        bits = _unpack("<I", head, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    low_width, high_width, low_height, high_height = _unpack("<HBHB", head, 24)
    return (high_width << 16 | low_width) + 1, (high_height << 16 | low_height) + 1


def _tiff(head: bytes, file: BinaryIO) -> Size | None:
    """ImageWidth (256) and ImageLength (257) of the first directory."""
    order = "<" if head[:2] == b"II" else ">"
    big = _unpack(order + "H", head, 2)[0] == 43
    start = _unpack(order + ("Q" if big else "I"), head, 8 if big else 4)[0]
    if start >= file.seek(0, os.SEEK_END):      # seek fails for huge offsets
        return None
    file.seek(start)
    count = _unpack(order + ("Q" if big else "H"), file.read(8 if big else 2))[0]
    length, found = 20 if big else 12, {}
    for _ in range(min(count, 1000)):
        entry = file.read(length)
        tag, kind = _unpack(order + "HH", entry)
        if tag in (256, 257):
            found[tag] = _unpack(order + ("H" if kind == 3 else "I"), entry, length - (8 if big else 4))[0]
    return (found[256], found[257]) if len(found) == 2 else None


def _pnm(head: bytes, file: BinaryIO) -> Size | None:
    text = re.sub(rb"#[^\n]*", b"", head[2:1000])
    numbers = re.match(rb"\s*(\d{1,9})\s+(\d{1,9})", text)
    return (int(numbers[1]), int(numbers[2])) if numbers else None


def _pam(head: bytes, file: BinaryIO) -> Size | None:
    sides = [re.search(rb"\n" + key + rb"\s+(\d{1,9})", head) for key in (b"WIDTH", b"HEIGHT")]
    return (int(sides[0][1]), int(sides[1][1])) if sides[0] and sides[1] else None


def _avif(head: bytes, file: BinaryIO) -> Size | None:
    """The size of the largest image in the file; its tiles and its thumbnail are smaller."""
    sizes = [_unpack(">II", head, found.end() + 4) for found in re.finditer(b"ispe", head[:-12])]
    return max(((width, height) for width, height in sizes), key=lambda size: size[0] * size[1], default=None)


def _jp2(head: bytes, file: BinaryIO) -> Size | None:
    at = head.find(b"ihdr")
    if at < 0:
        return None
    height, width = _unpack(">II", head, at + 4)
    return width, height


def _at(offset: int, layout: str) -> Callable[[bytes, BinaryIO], Size]:
    def read(head: bytes, file: BinaryIO) -> Size:
        width, height = _unpack(layout, head, offset)
        return width, height
    return read


_READERS: tuple[tuple[bytes, Callable[[bytes, BinaryIO], Size | None]], ...] = (
    (rb"GIF8", _at(6, "<HH")), (rb"BM", _bmp), (rb"RIFF....WEBP", _webp), (rb"II[*+]\0|MM\0[*+]", _tiff),
    (rb"P[1-6]\s", _pnm), (rb"P7\s", _pam), (rb"....ftyp", _avif), (rb"\0\0\0\x0cjP  ", _jp2),
    (rb"\xff\x4f\xff\x51", _at(8, ">II")), (rb"\x59\xa6\x6a\x95", _at(4, ">II")))
