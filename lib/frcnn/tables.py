"""Files of detections: JSON, CSV, and one text file per image."""
from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from frcnn.results import Results
from utils.files import atomic_path, write_text

_COLUMNS = ("image", "frame", "label", "score", "x1", "y1", "x2", "y2")

Row = tuple[str, int | str, str, float, float, float, float, float]


def rows(found: Results, image: str, frame: int | None = None) -> Iterator[Row]:
    """Table rows, one per object; `frame` is the number of the frame in a video, from 0."""
    for label, score, (x1, y1, x2, y2) in found:
        yield image, "" if frame is None else frame, label, score, x1, y1, x2, y2


def write_csv(path: Path, table: Iterable[Row]) -> None:
    """Write a header and the rows, atomically."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8",
                                              errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        writer.writerows(table)


def write_txt(path: Path, found: Results) -> None:
    """Write a line 'label score x1 y1 x2 y2' for each object, atomically."""
    lines = [f"{label} {score:.6f} {' '.join(f'{side:.2f}' for side in box)}\n" for label, score, box in found]
    write_text(path, "".join(lines))


def for_json(found: Results, image: str, frame: int | None = None) -> dict[str, Any]:
    """The entry of an image, or of a frame of a video, in the JSON file."""
    return {**found.as_json(), "image": image, **({} if frame is None else {"frame": frame})}
