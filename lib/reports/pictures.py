"""Pictures for a page: images and crops with boxes, as data URIs."""
from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from utils.images import ImageError, read_image

Colour = tuple[int, int, int]       # BGR
Corners = Sequence[float] | np.ndarray      # x1, y1, x2, y2

TRUTH: Colour = (60, 190, 60)
FOUND: Colour = (30, 110, 240)
_SURROUND = 0.6         # margin around a box, relative to its longer side
_LEAST = 48             # minimum side of a crop, in pixels of the image
_WIDEST = 4             # wider pictures are squeezed to this multiple of their height
_QUALITY = 82           # JPEG quality


@dataclass(frozen=True)
class Box:
    """A box to draw, x1, y1, x2, y2 in pixels of the image."""

    corners: Corners
    colour: Colour = TRUTH


def photograph(path: str, boxes: Sequence[Box] = (), height: int = 190) -> str:
    """An image file with boxes, as a data URI; '' if it cannot be read."""
    image = _read(path)
    return "" if image is None else picture_of(image, boxes, height)


def picture_of(image: np.ndarray, boxes: Sequence[Box], height: int) -> str:
    """An image (height, width, 3) BGR uint8 with boxes, as a data URI."""
    return _encoded(image, (0, 0, image.shape[1], image.shape[0]), boxes, height)


def drawn(path: str, boxes: Sequence[Box], height: int) -> np.ndarray | None:
    """An image file with boxes, (height, width, 3) BGR; None if it cannot be read."""
    image = _read(path)
    return None if image is None else _drawn(image, (0, 0, image.shape[1], image.shape[0]), boxes, height)


def crop(path: str, about: Corners, boxes: Sequence[Box] = (), height: int = 150) -> str:
    """The part of an image file around the box `about`, with boxes, as a data URI; '' if it cannot be read."""
    image = _read(path)
    return "" if image is None else _encoded(image, _window(about, image.shape[1], image.shape[0]), boxes, height)


@lru_cache(8)
def _read(path: str) -> np.ndarray | None:
    try:
        return read_image(path)
    except ImageError:
        return None


def _window(about: Corners, width: int, height: int) -> tuple[int, int, int, int]:
    """A square around a box, shifted and clipped to the image: x1, y1, x2, y2, the latter two exclusive."""
    x1, y1, x2, y2 = (float(side) for side in about)
    side = max(max(x2 - x1, y2 - y1) * (1 + 2 * _SURROUND), _LEAST)
    left = min(max((x1 + x2 - side) / 2, 0), max(width - side, 0))
    top = min(max((y1 + y2 - side) / 2, 0), max(height - side, 0))
    right, bottom = min(round(left + side), width), min(round(top + side), height)
    return min(int(left), right - 1), min(int(top), bottom - 1), right, bottom


def _encoded(image: np.ndarray, window: tuple[int, int, int, int], boxes: Sequence[Box], height: int) -> str:
    picture = _drawn(image, window, boxes, height)
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(np.asarray(data).tobytes()).decode("ascii")


def _drawn(image: np.ndarray, window: tuple[int, int, int, int], boxes: Sequence[Box], height: int) -> np.ndarray:
    left, top, right, bottom = window
    factor = height / (bottom - top)
    shape = max(1, min(round((right - left) * factor), _WIDEST * height)), height
    scaled = cv2.resize(np.ascontiguousarray(image[top:bottom, left:right]), shape,
                        interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    factors = shape[0] / (right - left), factor
    for box in boxes:
        x1, y1, x2, y2 = (round((float(side) + index // 2 - (left, top)[index % 2]) * factors[index % 2])
                          for index, side in enumerate(box.corners))
        for colour, line in (((255, 255, 255), 4), (box.colour, 2)):
            cv2.rectangle(scaled, (x1, y1), (x2 - 1, y2 - 1), colour, line)
    return np.asarray(scaled)
