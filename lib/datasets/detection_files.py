"""Detections of one class in PASCAL VOC's file format: lines `image score x1 y1 x2 y2`."""
from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

from datasets.average_precision import Detections
from utils.files import atomic_path, sha256_json, write_text
from utils.text import read_text

DETECTIONS = "detections.npz"        # detections of all classes in a folder of results
EVALUATION = "evaluation.json"      # their average precisions
_LONGEST = 180      # bytes of a class name in a file name; file systems allow 255 for the whole name


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
    write_text(path, "".join(lines))


def detections_file_names(image_set: str, classes: Sequence[str]) -> list[str]:
    """VOC's file names for the detections of each class, such as comp4_det_test_person.txt; see `safe_names`."""
    return [f"comp4_det_{image_set}_{part}.txt" for part in safe_names(classes)]


def safe_names(names: Sequence[str]) -> list[str]:
    """Readable and distinct versions of names that can be used in file names.

    Characters that are unsafe in file names become '_' or, if two names would then be equal, are percent-encoded. Names
    that are too long are replaced by their hash.
    """
    safe = [re.sub(r"[^\w.+-]", "_", name) for name in names]
    count = Counter(safe)
    parts = [quote(name, safe="", errors="surrogateescape") if count[plain] > 1 else plain
             for name, plain in zip(names, safe, strict=True)]
    return [part if len(part.encode()) <= _LONGEST else sha256_json(name)
            for name, part in zip(names, parts, strict=True)]


def write_detection_table(path: str | os.PathLike, all_boxes: Sequence[Sequence[np.ndarray]],
                          image_index: Sequence[str], classes: Sequence[str]) -> None:
    """Write detections [class][image] as CSV (`image,class,score,x1,y1,x2,y2`), or as a JSON list if `path` is *.json.

    Images keep their order, and the detections of an image are sorted by descending score; coordinates count from 0.
    """
    rows = list(_table_rows(all_boxes, image_index, classes))
    with atomic_path(path) as temporary:
        if Path(path).suffix == ".json":
            values = [{"image": image, "class": name, "score": score, "box": box} for image, name, score, box in rows]
            temporary.write_text(json.dumps(values, indent=0) + "\n", encoding="utf-8")
        else:
            with open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
                table = csv.writer(file)
                table.writerow(["image", "class", "score", "x1", "y1", "x2", "y2"])
                table.writerows([image, name, score, *box] for image, name, score, box in rows)


def _table_rows(all_boxes: Sequence[Sequence[np.ndarray]], image_index: Sequence[str],
                classes: Sequence[str]) -> Iterator[tuple[str, str, float, list[float]]]:
    for image, of_image in zip(image_index, zip(*all_boxes, strict=True), strict=True):
        found = [(name, row) for name, dets in zip(classes, of_image, strict=True)
                 for row in np.reshape(dets, (-1, 5)).tolist()]
        for name, row in sorted(found, key=lambda item: -item[1][4]):
            yield image, name, round(row[4], 6), [round(value, 3) for value in row[:4]]
