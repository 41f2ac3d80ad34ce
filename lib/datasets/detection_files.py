"""Detections of one class in PASCAL VOC's file format: lines `image score x1 y1 x2 y2`."""
from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from datasets.average_precision import Detections


def read_detections(path: str | os.PathLike) -> Detections:
    """Read lines `image score x1 y1 x2 y2`, possibly none. Raises ValueError with file and line."""
    images, rows = [], []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            name, *numbers = line.rsplit(maxsplit=5)
            try:
                rows.append([float(number) for number in numbers])
            except ValueError:
                rows.append([])
            if len(rows[-1]) != 5:
                raise ValueError(f"{path}:{number}: expected 'image score x1 y1 x2 y2', found {line!r}")
            images.append(name)
    values = np.array(rows, np.float64).reshape(-1, 5)
    return Detections(images, values[:, 0], values[:, 1:])


def write_detections(path: str | os.PathLike, detections: Detections) -> None:
    """Write lines `image score x1 y1 x2 y2` in full precision: rounding would create tied scores."""
    rows = zip(detections.images, detections.scores, detections.boxes, strict=True)
    lines = [f"{name} {score:.9g} {' '.join(f'{value:.9g}' for value in box)}\n" for name, score, box in rows]
    Path(path).write_text("".join(lines), encoding="utf-8")


def detections_file_name(image_set: str, class_name: str) -> str:
    """VOC's name for the detections of a class, such as comp4_det_test_person.txt."""
    safe_name = re.sub(r"[^\w.+-]", "_", class_name)
    return f"comp4_det_{image_set}_{safe_name}.txt"
