"""Draws detections on images, and montages."""
from __future__ import annotations

import colorsys
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from utils.files import atomic_path

_FONT = cv2.FONT_HERSHEY_SIMPLEX


class LabelledBox(NamedTuple):
    """A box to draw: corners in pixels, label text and BGR colour."""

    corners: Sequence[float]
    text: str
    colour: tuple[int, int, int]


def draw_detections(im: np.ndarray, detections: Sequence[np.ndarray], classes: Sequence[str],
                    thresh: float = 0.5) -> np.ndarray:
    """Draw boxes, class names and scores of detections on a copy of an image, highest scores on top.

    im          (height, width, 3) uint8 BGR
    detections  for each class (n, 5) x1, y1, x2, y2, score; those with a score of at least `thresh` are drawn
    classes     class names; each class has its own colour
    """
    found = [(row[4], index, row[:4]) for index, rows in enumerate(detections) for row in rows if row[4] >= thresh]
    return draw_boxes(im, [LabelledBox(corners, f"{classes[index]} {score:.2f}", class_colour(index))
                           for score, index, corners in sorted(found, key=lambda item: item[0])])


def draw_boxes(im: np.ndarray, boxes: Sequence[LabelledBox]) -> np.ndarray:
    """Draw labelled boxes on a copy of an image (height, width, 3) uint8 BGR, the last on top.

    Lines and letters scale with the image, so that they stay readable when it is shown as a whole. Labels stay inside
    the image and, where there is room, cover no other label or box.
    """
    picture = im.copy(order="C")
    size, line = _size(picture), _line(picture)
    sides = [_whole(box.corners) for box in boxes]
    for (left, top, right, bottom), box in zip(sides, boxes, strict=True):
        cv2.rectangle(picture, (left, top), (right, bottom), box.colour, line)
    labels: list[_Sides] = []
    for index in reversed(range(len(boxes))):
        text_size, base = cv2.getTextSize(boxes[index].text, _FONT, size, max(1, line // 2))
        extent = text_size[0], text_size[1] + base
        labels.append(_place_label(sides[index], extent, picture.shape[:2], sides[:index] + sides[index + 1:], labels))
    for box, (left, top, right, bottom) in zip(boxes, reversed(labels), strict=True):
        _, base = cv2.getTextSize(box.text, _FONT, size, max(1, line // 2))
        cv2.rectangle(picture, (left, top), (right, bottom), box.colour, cv2.FILLED)
        ink = (0, 0, 0) if np.dot(box.colour, (0.114, 0.587, 0.299)) > 128 else (255, 255, 255)
        cv2.putText(picture, box.text, (left, bottom - base // 2), _FONT, size, ink, max(1, line // 2), cv2.LINE_AA)
    return picture


def draw_objects(im: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Draw annotated objects on a copy of an image, as white boxes with dark edges.

    im     (height, width, 3) uint8 BGR; boxes  (M, 4)
    """
    picture = im.copy(order="C")
    line = _line(picture)
    for box in np.asarray(boxes):
        left, top, right, bottom = _whole(box)
        for colour, width in (((0, 0, 0), line + 2), ((255, 255, 255), line)):
            cv2.rectangle(picture, (left, top), (right, bottom), colour, width)
    return picture


def class_colour(index: int) -> tuple[int, int, int]:
    """BGR colour of a class; hues of successive classes are far apart (steps of the golden ratio)."""
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618 % 1, 0.85, 0.95)
    return int(blue * 255), int(green * 255), int(red * 255)


_Sides = tuple[int, int, int, int]      # left, top, right, bottom


def _whole(corners: Sequence[float]) -> _Sides:
    left, top, right, bottom = (int(round(float(side))) for side in corners)
    return left, top, right, bottom


def _place_label(box: _Sides, extent: tuple[int, int], shape: tuple[int, int], others: Sequence[_Sides],
                 labels: Sequence[_Sides]) -> _Sides:
    """The place above, in, below or beside its box where a label of this width and height covers least.

    others, labels  the other boxes, and the labels placed so far, whose overlap counts four times
    """
    (left, top, right, bottom), (width, height) = box, extent
    corners = [(left, top - height), (left, top), (right - width, top - height), (left, bottom),
               (left, bottom - height), (right, top), (left - width, top)]
    most_x, most_y = max(shape[1] - width, 0), max(shape[0] - height, 0)
    inside = dict.fromkeys((min(max(x, 0), most_x), min(max(y, 0), most_y)) for x, y in corners)
    # First those that need not be moved into the image
    places = [(x, y, x + width, y + height) for x, y in sorted(inside, key=lambda corner: corner not in corners)]
    return min(places, key=lambda place: sum(_shared_area(place, other) for other in others)
               + 4 * sum(_shared_area(place, label) for label in labels))


def _shared_area(a: _Sides, b: _Sides) -> int:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def _size(picture: np.ndarray) -> float:
    """OpenCV's font scale."""
    return max(min(picture.shape[:2]) / 700, 0.35)


def _line(picture: np.ndarray) -> int:
    """Width of lines in pixels."""
    return max(1, round(2 * _size(picture)))


def montage(images: Sequence[np.ndarray], columns: int = 3, height: int = 300, gap: int = 6) -> np.ndarray:
    """Several pictures side by side on white, each `height` pixels tall, `columns` in a row.

    images   (H, W, 3) uint8 of any sizes
    returns  (rows * height + gaps, width of the widest row, 3) uint8
    """
    if not images:
        raise ValueError("montage needs at least one image")
    scaled = [cv2.resize(im, (max(1, round(im.shape[1] * height / im.shape[0])), height),
                         interpolation=cv2.INTER_AREA) for im in images]
    rows = [scaled[start:start + columns] for start in range(0, len(scaled), columns)]
    width = max(sum(im.shape[1] for im in row) + gap * (len(row) - 1) for row in rows)
    sheet = np.full((len(rows) * (height + gap) - gap, width, 3), 255, np.uint8)
    for number, row in enumerate(rows):
        left = 0
        for im in row:
            top = number * (height + gap)
            sheet[top:top + height, left:left + im.shape[1]] = im
            left += im.shape[1] + gap
    return sheet


def write_image(path: str | os.PathLike, im: np.ndarray) -> None:
    """Write an image in the format of the file's suffix. Raises ValueError if OpenCV does not know that."""
    try:
        written, data = cv2.imencode(Path(path).suffix, im)
    except cv2.error:
        written = False
    if not written:
        raise ValueError(f"{path}: cannot be written as an image; use a name that ends in .png or .jpg")
    with atomic_path(path) as temporary:        # written by Python, as OpenCV crashes on names that are not UTF-8
        temporary.write_bytes(np.asarray(data).tobytes())
