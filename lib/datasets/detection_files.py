"""Detections of one class in PASCAL VOC's file format: lines `image score x1 y1 x2 y2`."""
from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

from datasets.average_precision import Detections
from utils.files import sha256_json
from utils.text import read_text

_LONGEST = 180      # bytes of a class name in a file's name, of which a file system allows 255


def read_detections(path: str | os.PathLike) -> Detections:
    """Read lines `image score x1 y1 x2 y2`, possibly none. Raises ValueError with file and line."""
    images, rows = [], []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
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


def detections_file_names(image_set: str, classes: Sequence[str]) -> list[str]:
    """VOC's names for the detections of each class, such as comp4_det_test_person.txt.

    Characters that are unsafe in a file's name become '_' or, if two names would then be the same, '%2F' and the like.
    """
    safe = [re.sub(r"[^\w.+-]", "_", name) for name in classes]
    count = Counter(safe)
    parts = [quote(name, safe="") if count[plain] > 1 else plain for name, plain in zip(classes, safe, strict=True)]
    parts = [part if len(part.encode()) <= _LONGEST else sha256_json(name)
             for name, part in zip(classes, parts, strict=True)]
    return [f"comp4_det_{image_set}_{part}.txt" for part in parts]
