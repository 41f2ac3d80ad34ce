"""Pictures: detections on photographs, montages, loss curves."""
from __future__ import annotations

import colorsys
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from utils.files import atomic_path, read_json_lines

_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_detections(im: np.ndarray, detections: Sequence[np.ndarray], classes: Sequence[str],
                    thresh: float = 0.5) -> np.ndarray:
    """A copy of an image with boxes, class names and scores of its detections, the best on top.

    Lines and letters scale with the image, so that they stay readable when it is shown as a whole. Labels stay inside.

    im          (height, width, 3) uint8 BGR
    detections  for each class (n, 5) x1, y1, x2, y2, score; only scores of at least `thresh` are drawn
    classes     their names; each has its own colour
    """
    picture = im.copy(order="C")
    found = [(row[4], index, row[:4]) for index, rows in enumerate(detections) for row in rows if row[4] >= thresh]
    for score, index, box in sorted(found, key=lambda item: item[0]):
        _draw_box(picture, box, f"{classes[index]} {score:.2f}", class_colour(index))
    return picture


def class_colour(index: int) -> tuple[int, int, int]:
    """BGR colour of a class; neighbours are far apart on the colour circle (steps of the golden ratio)."""
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618 % 1, 0.85, 0.95)
    return int(blue * 255), int(green * 255), int(red * 255)


def _draw_box(picture: np.ndarray, box: np.ndarray, label: str, colour: tuple[int, int, int]) -> None:
    height, width = picture.shape[:2]
    size = max(min(height, width) / 700, 0.35)
    line = max(1, round(2 * size))
    left, top, right, bottom = (int(round(float(side))) for side in box)
    cv2.rectangle(picture, (left, top), (right, bottom), colour, line)
    (text_width, text_height), base = cv2.getTextSize(label, _FONT, size, max(1, line // 2))
    x = min(max(left, 0), max(width - text_width, 0))
    y = top if top >= text_height + base else min(max(top, 0) + text_height + base, height)
    cv2.rectangle(picture, (x, y - text_height - base), (x + text_width, y), colour, cv2.FILLED)
    ink = (0, 0, 0) if np.dot(colour, (0.114, 0.587, 0.299)) > 128 else (255, 255, 255)
    cv2.putText(picture, label, (x, y - base // 2), _FONT, size, ink, max(1, line // 2), cv2.LINE_AA)


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
    """Write a picture; the format follows from the name. Raises ValueError if OpenCV does not know it."""
    try:
        written, data = cv2.imencode(Path(path).suffix, im)
    except cv2.error:
        written = False
    if not written:
        raise ValueError(f"{path}: cannot be written as an image; use a name that ends in .png or .jpg")
    with atomic_path(path) as temporary:        # by Python: OpenCV crashes on names that are not UTF-8
        temporary.write_bytes(np.asarray(data).tobytes())


def plot_losses(logs: Sequence[str | os.PathLike], path: str | os.PathLike) -> None:
    """Draw the losses in training logs (JSON lines, see fast_rcnn/train_log.py) into a PNG, one panel per stage."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes a second to load; needs no screen
    from matplotlib.figure import Figure
    records = [record for log in logs for record in
               read_json_lines(log, stage=str, iteration=int, loss=(int, float), losses=dict)]
    stages = list(dict.fromkeys(record["stage"] for record in records))
    if not stages:
        raise ValueError(f"no records in {', '.join(str(Path(log)) for log in logs) or 'no files'}")
    figure = Figure(figsize=(5 * len(stages), 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, stage in zip(figure.subplots(1, len(stages), squeeze=False)[0], stages, strict=True):
        for name, points in _curves([record for record in records if record["stage"] == stage]).items():
            axes.plot(*zip(*points, strict=True), label=name, linewidth=1)
        axes.set(title=stage, xlabel="iteration", ylabel="loss")
        axes.set_ylim(bottom=0)
        axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def _curves(records: Sequence[Mapping]) -> dict[str, list[tuple[int, float]]]:
    """Points (iteration, loss) of each loss of a stage, and of their sum if there are several."""
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for record in records:
        for name, value in record["losses"].items():
            curves[name].append((record["iteration"], value))
        if len(record["losses"]) > 1:
            curves["sum"].append((record["iteration"], record["loss"]))
    return curves
