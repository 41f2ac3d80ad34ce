"""YOLO: data.yaml, images/<split>/, labels/<split>/; difficult objects, which YOLO cannot mark, are left out."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from datasets.formats.yolo import label_path
from datasets.records import Record
from datasets.splits import ALL
from datasets.writers.records import copy_images, file_of, of_classes

_KEYS = {ALL: "train", "trainval": "train", "training": "train", "valid": "val", "validation": "val", "testing": "test"}
_DIGITS = 9     # significant digits of a fraction: precise to a thousandth of a pixel in images of any size


def write(folder: Path, splits: Mapping[str, Sequence[Record]], classes: Sequence[str]) -> None:
    """Write splits into a folder."""
    keys = {split: _KEYS.get(split, split) for split in splits}
    if len(set(keys.values())) < len(keys):
        keys = {split: split for split in splits}
    paths = {keys[split]: f"images/{split}" for split in splits}
    if "val" not in paths:      # Ultralytics' training requires it
        paths["val"] = paths.get("test") or next(iter(paths.values()))
    content = {**paths, "names": dict(enumerate(classes))}
    (folder / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    numbers = {name: number for number, name in enumerate(classes)}
    for split, records in splits.items():
        copy_images(records, folder / "images" / split)
        for record in records:
            file = Path(label_path(str(folder / "images" / split / file_of(record))))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(_lines(record, numbers)), encoding="utf-8")


def _lines(record: Record, numbers: Mapping[str, int]) -> list[str]:
    rows = of_classes(record)
    rows = rows[~record.difficult[rows]]
    boxes = record.boxes[rows].astype(np.float64)
    low, high = boxes[:, :2], boxes[:, 2:] + 1
    shares = np.hstack([(low + high) / 2, high - low]) / [*record.size, *record.size]
    return [f"{numbers[record.names[row]]} {' '.join(f'{value:.{_DIGITS}g}' for value in values)}\n"
            for row, values in zip(rows.tolist(), shares.tolist(), strict=True)]
