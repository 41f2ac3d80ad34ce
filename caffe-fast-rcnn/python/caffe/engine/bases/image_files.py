"""Reading and decoding of image files, after a check of their declared size."""
from __future__ import annotations

import re
import struct
from collections.abc import Callable

import cv2
import numpy as np

from ...errors import WireError

# OpenCV allocates the declared pixels first. Many pixels in few bytes: truncated, or made to exhaust the memory
_ALWAYS_DECODED = 1 << 26           # pixels
_MOST_PIXELS_IN_A_BYTE = 1000       # a white JPEG has 500


def read_image(path: str, color: bool) -> np.ndarray:
    """An image file as (H, W, 3) BGR or (H, W) uint8. Raises WireError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (OSError, ValueError) as error:      # ValueError: a null character in the name
        raise WireError(f"cannot read the image '{path}': {getattr(error, 'strerror', error)}") from None
    try:
        return decode_image(data, "COLOR" if color else "GRAYSCALE")
    except WireError as error:
        raise WireError(f"cannot read the image '{path}': {error}") from None


def decode_image(data: bytes, flag: str) -> np.ndarray:
    """Decode an image file's bytes to (H, W) or (H, W, C); flag: COLOR, GRAYSCALE or UNCHANGED. Raises WireError."""
    width, height = declared_size(data)
    if width * height > max(_ALWAYS_DECODED, _MOST_PIXELS_IN_A_BYTE * len(data)):
        raise WireError(f"an image of {width} x {height} pixels in {len(data)} bytes: cut short, or not meant to "
                        "be read")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), getattr(cv2, f"IMREAD_{flag}")) if data else None
    except cv2.error as error:
        raise WireError(f"cannot decode an image of {width} x {height} pixels: {error.err}") from None
    if image is None:
        raise WireError(f"cannot decode an image of {len(data)} bytes: damaged, or not in a format that OpenCV reads")
    return image


def has_palette(path: str) -> bool:
    """Whether a file is a PNG with palette colours."""
    with open(path, "rb") as file:
        head = file.read(26)
    return head.startswith(b"\x89PNG\r\n\x1a\n") and head[25:] == b"\x03"


def declared_size(data: bytes) -> tuple[int, int]:
    """(width, height) as declared in the header; (0, 0) if unknown."""
    for signature, size in _SIZES.items():
        if re.match(signature, data, re.DOTALL):
            try:
                return size(data)
            except (struct.error, ValueError, IndexError):
                return 0, 0
    return 0, 0


def _at(layout: str, offset: int) -> Callable[[bytes], tuple[int, int]]:
    return lambda data: struct.unpack_from(layout, data, offset)


def _behind(mark: bytes, layout: str, skipped: int) -> Callable[[bytes], tuple[int, int]]:
    return lambda data: struct.unpack_from(layout, data, data.index(mark) + len(mark) + skipped)


def _jpeg(data: bytes) -> tuple[int, int]:
    """From the first start of frame (SOF0 to SOF15, except DHT, JPG and DAC)."""
    place = 2
    while data[place] == 0xFF:
        marker, length = struct.unpack_from(">xBH", data, place)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        place += 2 + length
    return 0, 0


def _tiff(data: bytes) -> tuple[int, int]:
    """From tags 256 and 257 of the first directory; values have 16 or 32 bits (types 3 and 4)."""
    order = "<" if data[:2] == b"II" else ">"
    place, = struct.unpack_from(order + "I", data, 4)
    count, = struct.unpack_from(order + "H", data, place)
    found = {}
    for index in range(count):
        tag, kind = struct.unpack_from(order + "HH", data, place + 2 + 12 * index)
        if tag in (256, 257):
            found[tag], = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, place + 10 + 12 * index)
    return found.get(256, 0), found.get(257, 0)


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _bmp(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(width), abs(height)


def _pnm(data: bytes) -> tuple[int, int]:
    """From the first two numbers after the signature, with comments skipped."""
    numbers = re.sub(rb"#[^\n]*", b"", data[2:1000]).split()
    return int(numbers[0]), int(numbers[1])


def _swapped(size: Callable[[bytes], tuple[int, int]]) -> Callable[[bytes], tuple[int, int]]:
    return lambda data: size(data)[::-1]


_SIZES: dict[bytes, Callable[[bytes], tuple[int, int]]] = {
    rb"\x89PNG\r\n\x1a\n": _at(">II", 16),
    rb"\xff\xd8\xff": _jpeg,
    rb"BM": _bmp,
    rb"GIF8": _at("<HH", 6),
    rb"II\*\x00|MM\x00\*": _tiff,
    rb"RIFF....WEBP": _webp,
    rb"P[1-6fF]": _pnm,
    rb"\x59\xa6\x6a\x95": _at(">II", 4),                                            # Sun raster
    rb"\x00\x00\x00\x0cjP  ": _swapped(_behind(b"ihdr", ">II", 0)),                # JPEG 2000
    rb"....ftyp": _behind(b"ispe", ">II", 4),                                       # AVIF
}
