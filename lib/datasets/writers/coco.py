"""COCO: annotations/instances_<split>.json, images in <split>/; difficult objects are marked as crowds."""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets.records import Record
from datasets.writers.records import copy_images, file_of, of_classes, rounded


def write(folder: Path, splits: Mapping[str, Sequence[Record]], classes: Sequence[str]) -> None:
    """Write splits into a folder."""
    (folder / "annotations").mkdir()
    numbers = {name: number for number, name in enumerate(classes, 1)}
    categories = [{"id": number, "name": name, "supercategory": "none"} for name, number in numbers.items()]
    for split, records in splits.items():
        images: list[dict[str, Any]] = []
        objects: list[dict[str, Any]] = []
        for number, record in enumerate(records, 1):
            width, height = record.size
            images.append({"id": number, "file_name": file_of(record), "width": width, "height": height})
            objects += _objects(record, number, len(objects) + 1, numbers)
        content = {"images": images, "annotations": objects, "categories": categories}
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
        copy_images(records, folder / split)


def _objects(record: Record, image: int, first: int, numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    found = []
    for number, row in enumerate(of_classes(record).tolist(), first):
        x1, y1, x2, y2 = record.boxes[row].tolist()
        box = [rounded(value) for value in (x1, y1, x2 - x1 + 1, y2 - y1 + 1)]
        found.append({"id": number, "image_id": image, "category_id": numbers[record.names[row]], "bbox": box,
                      "area": rounded(box[2] * box[3]), "iscrowd": int(record.difficult[row]), "segmentation": []})
    return found
