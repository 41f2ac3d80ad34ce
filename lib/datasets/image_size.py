"""Reads the size of an image from its file header, without decoding it."""
from __future__ import annotations

import os

import cv2

from utils.embedded_images import open_image
from utils.image_header import Size, header_in, orientation_of, turned
from utils.images import BrokenImage, check_file, decode

_TAIL = 4096        # bytes at the end of a file, which contain the end marker of most files


def image_size(path: str | os.PathLike) -> Size:
    """(width, height) of an image as cv2.imread returns it, rotated by its EXIF tag.

    JPEG and PNG headers are read; other formats are decoded. Raises ValueError with the path if the file is missing or
    is not an image.
    """
    header = check_file(path)
    if header and header.exact:
        return turned(header.size, orientation_of(header))
    try:
        image = decode(path, cv2.IMREAD_COLOR)
    except BrokenImage:
        raise BrokenImage(f"{path}: not an image, or a broken one") from None
    return image.shape[1], image.shape[0]


def exif_orientation(path: str | os.PathLike) -> int:
    """EXIF orientation (1 to 8) of a JPEG or PNG file; 1, which is upright, for other files."""
    header = check_file(path)
    return orientation_of(header) if header else 1


def ends_early(path: str | os.PathLike) -> bool:
    """Whether a JPEG or PNG file lacks its end marker, probably because it was truncated.

    Cameras append videos to photographs, so a JPEG's marker may come long before the end of the file.
    """
    with open_image(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        start = file.read(4)
        if start[:2] == b"\xff\xd8":
            file.seek(0)
            header = header_in(file)
            scan = header.scan if header else 0     # thumbnails, with their own end markers, come before it
            for first in (max(scan, size - _TAIL), scan):
                file.seek(first)
                if b"\xff\xd9" in file.read():
                    return False
            return True
        file.seek(max(0, size - _TAIL))
        return start == b"\x89PNG" and b"IEND" not in file.read()
