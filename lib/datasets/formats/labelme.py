"""LabelMe's JSON, one file per image, beside the images or in a separate folder; optionally in one folder per split.

Rectangles are read as they are; of polygons, circles and masks the bounds are read. Points and lines are not objects.
Mouse positions are taken as edges: pixel 0 lies between 0 and 1. Shapes named __ignore__ are regions of any class;
those with the flag `difficult` are difficult objects. Images without a JSON file are not annotated, and left out. If
there is no image file, the image embedded in the JSON file is used.
"""
from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from datasets.box_table import BoxTable, is_true, table_source
from datasets.ds_utils import edges_to_corners
from datasets.folders import file_names
from datasets.source import ANY_CLASS, Source
from datasets.splits import ALL, find_split, split_folders, split_of_classes, split_sizes
from utils.errors import message_of
from utils.image_header import IMAGE_SUFFIXES
from utils.text import TextError, load_json
from utils.timer import with_progress

_FOLDERS = ("annotations", "labels", "json", "jsons")
_TRIED = 3      # JSON files that are inspected, as files of other kinds may come first
_WITHOUT_AREA = ("point", "points", "line", "linestrip")
_IGNORE, _BACKGROUND = "__ignore__", "_background_"     # special names of LabelMe's own converters


def read(path: Path, split: str | None) -> Source | None:
    """A split of a folder; None for paths without LabelMe's files."""
    if not path.is_dir():
        return None
    root, split, folders = split_folders(path, split, _is_labelme)
    if set(folders) <= {*_FOLDERS}:
        inner = [folder for folder in (path, *(path / name for name in _FOLDERS)) if _is_labelme(folder)]
        if not inner:
            return None
        folders = {ALL: inner[0]}
    table = lru_cache(maxsize=None)(_read_folder)
    chosen = find_split(split, folders, root)
    folder, training = folders[chosen], folders[split_of_classes(folders, chosen)]
    images = [each for each in (folder, root / "images" / chosen, root / "images", root) if each.is_dir()]
    return table_source(
        table(folder), "LabelMe", root, chosen, images, edges_to_corners, folder, training=lambda: table(training),
        split_sizes=split_sizes(folders, _count),
        limits=root.parent)


def _is_labelme(folder: Path) -> bool:
    """Whether one of the first JSON files in a folder has LabelMe's keys."""
    names = [name for name in file_names(folder) if name.lower().endswith(".json")][:_TRIED]
    files = [(folder / name).read_bytes().replace(b"\0", b"") for name in names if (folder / name).is_file()]
    return any(b'"shapes"' in data and (b'"imagePath"' in data or b'"imageData"' in data) for data in files)


def _count(folder: Path) -> int:
    return sum(name.lower().endswith(".json") for name in file_names(folder))


def _read_folder(folder: Path) -> BoxTable:
    table, names = BoxTable(), file_names(folder)
    files = [name for name in names if name.lower().endswith(".json")]
    for name in with_progress("LabelMe files", files):
        _read_file(folder, name, table)
    annotated = {os.path.splitext(name)[0] for name in files}
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in IMAGE_SUFFIXES and stem not in annotated and name not in table.images:
            table.fail(table.add_image(name), f"{folder / stem}.json: there is no such file")
    return table


def _read_file(folder: Path, name: str, table: BoxTable) -> None:
    stem = os.path.splitext(name)[0]
    try:
        content = load_json(folder / name)
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            raise TextError(f"{folder / name}: expected an object with shapes, as LabelMe's")
    except (TextError, OSError) as error:
        table.fail(table.add_image(stem), message_of(error))
        return
    image = str(content.get("imagePath") or stem).replace("\\", "/")
    row = table.add_image(image if (folder / image).is_file() else stem,    # else the files were renamed
                          (content.get("imageWidth"), content.get("imageHeight")))
    if content.get("imageData"):
        table.embedded[row] = str(folder / name)
    for number, shape in enumerate(content["shapes"], 1):
        try:
            _add(table, row, shape)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            table.fail(row, f"{folder / name}: shape {number}: {error}")


def _add(table: BoxTable, row: int, shape: Mapping[str, Any]) -> None:
    name = shape["label"]
    kind, label = shape.get("shape_type") or "polygon", "" if name is None else " ".join(str(name).split())
    if kind in _WITHOUT_AREA or label == _BACKGROUND:
        table.faults[f"{{}} shapes are a {label if label == _BACKGROUND else kind}, not objects", "left out"] += 1
        return
    if not label:
        raise ValueError("no label")
    points = np.asarray(shape["points"], np.float64).reshape(-1, 2)
    if len(points) < 2:
        raise ValueError(f"expected at least 2 points, found {len(points)}")
    if kind == "circle":
        radius = np.hypot(*(points[1] - points[0]))
        points = points[:1] + [[-radius], [radius]]
    low, high = points.min(axis=0), points.max(axis=0) + (kind == "mask")    # masks have pixels, not edges
    flags = shape.get("flags") or {}
    table.add(row, ANY_CLASS if label == _IGNORE else label, [*low.tolist(), *high.tolist()],
              label == _IGNORE or is_true(shape.get("difficult")) or is_true(flags.get("difficult")))
