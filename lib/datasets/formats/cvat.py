"""CVAT's XML for images, version 1.1: annotations.xml with the images beside it or in images/; splits are its subsets.

Boxes are read as they are; of rotated boxes, polygons, ellipses and masks the bounds are read. Points, lines, cuboids
and skeletons are not objects. Coordinates are edges: pixel 0 lies between 0 and 1. Objects with the attribute
difficult, ignore or iscrowd are difficult.
"""
from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from datasets.box_table import BoxTable, is_true, table_source
from datasets.ds_utils import edges_to_corners
from datasets.folders import file_names
from datasets.source import DatasetError, Source
from datasets.splits import ALL, find_split, split_of_classes, split_sizes
from utils.text import TextError, read_text

_HEAD = 4096        # bytes that contain the tag of the root
_MOST_FILES = 10    # XML files that are inspected; folders with many have one per image
_DIFFICULT = ("difficult", "ignore", "iscrowd", "is_crowd")
_NO_OBJECTS = ("points", "polyline", "cuboid", "skeleton", "tag")


def read(path: Path, split: str | None) -> Source | None:
    """A split of a file or of the folder that holds it; None for other files and folders."""
    files = [path] if path.is_file() else [path / name for name in file_names(path) if name.lower().endswith(".xml")]
    file = next((file for file in files[:_MOST_FILES] if file.suffix.lower() == ".xml" and _is_cvat(file)), None)
    if file is None:
        return None
    subsets = _read_file(file)
    root, chosen = file.parent, find_split(split, subsets, file)
    folders = [root / name for name in (f"images/{chosen}", "images", chosen, ".")]
    training = subsets[split_of_classes(subsets, chosen)]
    return table_source(
        subsets[chosen], "CVAT", root, chosen, [folder for folder in folders if folder.is_dir()], edges_to_corners,
        file, training=lambda: training,
        split_sizes=split_sizes(subsets, lambda table: len(table.images)))


def _is_cvat(path: Path) -> bool:
    with open(path, "rb") as file:
        return b"<annotations>" in file.read(_HEAD).replace(b"\0", b"")


def _read_file(path: Path) -> dict[str, BoxTable]:
    """The images and objects by subset. Raises DatasetError."""
    try:
        root = ElementTree.fromstring(read_text(path))
    except TextError as error:
        raise DatasetError(str(error)) from None
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise DatasetError(f"{path}: not readable as XML: {error}") from None
    images = root.findall("image")
    if root.find("track") is not None and not images:
        raise DatasetError(f"{path}: has tracks of a video; export it as CVAT for images, with the images")
    if not images:
        raise DatasetError(f"{path}: has no <image>, as CVAT for images has")
    tables: dict[str, BoxTable] = {}
    for image in images:
        table = tables.setdefault(image.get("subset") or ALL, BoxTable())
        if not image.get("name"):
            table.faults["{} images have no name", "left out"] += 1
            continue
        row = table.add_image(image.get("name", ""), (image.get("width"), image.get("height")))
        for number, shape in enumerate(image, 1):
            try:
                _add(table, row, shape)
            except ValueError as error:
                table.fail(row, f"{path}: shape {number} of {image.get('name')}: <{shape.tag}>: {error}")
    return tables


def _add(table: BoxTable, row: int, shape: ElementTree.Element) -> None:
    if shape.tag in _NO_OBJECTS:
        table.faults[f"{{}} shapes are a {shape.tag}, not objects", "left out"] += 1
        return
    if shape.tag not in _BOUNDS:
        raise ValueError(f"expected one of {', '.join(_BOUNDS)}")
    name = " ".join((shape.get("label") or "").split())
    if not name:
        raise ValueError("no label")
    difficult = any(attribute.get("name", "").lower() in _DIFFICULT and is_true(attribute.text)
                    for attribute in shape.iter("attribute"))
    table.add(row, name, _BOUNDS[shape.tag](shape).tolist(), difficult)


def _numbers(shape: ElementTree.Element, *keys: str) -> list[float]:
    missing = [key for key in keys if not shape.get(key)]
    if missing:
        raise ValueError(f"no {missing[0]}")
    return [float(shape.get(key, "")) for key in keys]


def _of_box(shape: ElementTree.Element) -> np.ndarray:
    """Edges of a box; for a rotated box, those of its bounds."""
    box, angle = np.array(_numbers(shape, "xtl", "ytl", "xbr", "ybr")), float(shape.get("rotation") or 0)
    return _around((box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2, angle) if angle else box


def _around(centre: np.ndarray, half: np.ndarray, degrees: float) -> np.ndarray:
    """Edges of the bounds of a rotated box."""
    cos, sin = abs(np.cos(np.radians(degrees))), abs(np.sin(np.radians(degrees)))
    reach = np.array([[cos, sin], [sin, cos]]) @ np.abs(half)
    return np.concatenate([centre - reach, centre + reach])


def _of_points(shape: ElementTree.Element) -> np.ndarray:
    pairs = [point.split(",") for point in (shape.get("points") or "").split(";")]
    points = np.array([[float(x), float(y)] for x, y in pairs])
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def _of_ellipse(shape: ElementTree.Element) -> np.ndarray:
    x, y, across, down = _numbers(shape, "cx", "cy", "rx", "ry")
    turn = np.radians(float(shape.get("rotation") or 0))
    reach = np.hypot([across * np.cos(turn), across * np.sin(turn)], [down * np.sin(turn), down * np.cos(turn)])
    return np.concatenate([[x, y] - reach, [x, y] + reach])


def _of_mask(shape: ElementTree.Element) -> np.ndarray:
    left, top, width, height = _numbers(shape, "left", "top", "width", "height")
    return np.array([left, top, left + width, top + height])


_BOUNDS: Mapping[str, Callable[[ElementTree.Element], np.ndarray]] = {
    "box": _of_box, "polygon": _of_points, "ellipse": _of_ellipse, "mask": _of_mask,
}
