"""Reads the size of an image from its file header, without decoding it."""
from __future__ import annotations

import os
import struct
from pathlib import Path

import cv2


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """(width, height) of an image as cv2.imread returns it, rotated by its EXIF tag.

    JPEG and PNG headers are read; other formats are decoded. Raises ValueError with the path if the file is missing or
    is not an image.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(26)
            if head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR" and len(head) >= 24:
                width, height = struct.unpack(">II", head[16:24])
            elif head[:2] == b"\xff\xd8":
                file.seek(2)
                width, height = _jpeg_size(file)
            else:
                width, height = _decoded_size(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except (OSError, struct.error, _NotAnImage):
        raise ValueError(f"{path}: not an image, or a broken one") from None
    return width, height


class _NotAnImage(Exception):
    pass


def ends_early(path: str | os.PathLike) -> bool:
    """Whether a JPEG or PNG file lacks its end marker: it was probably truncated."""
    with open(path, "rb") as file:
        start = file.read(4)
        file.seek(max(0, Path(path).stat().st_size - 4096))
        tail = file.read()
    if start[:2] == b"\xff\xd8":
        return b"\xff\xd9" not in tail
    return start == b"\x89PNG" and b"IEND" not in tail


def _jpeg_size(file) -> tuple[int, int]:
    """Walk the segments up to the frame header (T.81, table B.1), which holds height and width."""
    turned = False
    while True:
        marker = file.read(2)
        if len(marker) < 2 or marker[0] != 0xFF:
            raise _NotAnImage
        if marker[1] == 0xFF:                      # fill byte
            file.seek(-1, os.SEEK_CUR)
            continue
        length = struct.unpack(">H", file.read(2))[0] - 2
        if 0xC0 <= marker[1] <= 0xCF and marker[1] not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">xHH", file.read(5))
            return (height, width) if turned else (width, height)
        body = file.read(length)
        if marker[1] == 0xE1 and body[:6] == b"Exif\0\0":
            turned = _exif_orientation(body[6:]) >= 5


def _exif_orientation(tiff: bytes) -> int:
    """Tag 0x0112 of the first directory: 1 upright, 5 to 8 rotated by 90 degrees (EXIF 2.3, section 4.6.4)."""
    try:
        order = {b"II": "<", b"MM": ">"}[tiff[:2]]
        start = struct.unpack(order + "I", tiff[4:8])[0]
        count = struct.unpack(order + "H", tiff[start:start + 2])[0]
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack(order + "HHIH", tiff[entry:entry + 10])
            if tag == 0x0112:
                return value
    except (KeyError, struct.error):
        pass
    return 1


def _decoded_size(path: str | os.PathLike) -> tuple[int, int]:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise _NotAnImage
    return image.shape[1], image.shape[0]
