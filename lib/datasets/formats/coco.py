"""COCO's JSON: one file, or a folder with one file per split.

  COCO      annotations/instances_<split>.json, images in <split>/ or images/<split>/
  Roboflow  <split>/_annotations.coco.json beside the images
  others    JSON files beside the images, or beside a folder images/

x, y, width and height are measured from the upper left edge of the image. Crowd regions are difficult objects. Objects
without a box get the bounds of their polygons. The class names are those of the categories that have objects.
"""
from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from datasets.box_table import BoxTable, is_true, table_source
from datasets.ds_utils import extents_to_corners
from datasets.folders import file_names
from datasets.source import DatasetError, Source
from datasets.splits import ALL, find_split, split_folders, split_of_classes, split_sizes
from utils.errors import message_of
from utils.text import TextError, load_json, printable

_EXPORT = "_annotations.coco.json"
_ANNOTATIONS = ("annotations", "annotation", "labels")      # names of annotation folders beside those of images
_OTHER_TASKS = ("captions_", "panoptic_", "stuff_")
_KEYS = (b'"images"', b'"categories"', b'"annotations"')
_MOST_FILES = 40    # a folder with more JSON files has one per image, which is not COCO's format
_LEFT_OUT = "left out"
_SHOWN = 3      # ids that a message shows


def read(path: Path, split: str | None) -> Source | None:
    """A split of a COCO file or folder; without `split` the one to train on, or the only one. None for other paths."""
    if path.is_file():
        return _of_file(path, split) if path.suffix.lower() == ".json" and _is_coco(path) else None
    if not path.is_dir():
        return None
    root, split, folders = split_folders(path, split, lambda folder: (folder / _EXPORT).is_file())
    if folders:
        return _source(root, {name: folder / _EXPORT for name, folder in folders.items()}, split)
    for folder in (path, *(path / name for name in _ANNOTATIONS)):
        files = _files_of(folder)
        if files:
            return _source(path, files, split)
    return None


def _of_file(path: Path, split: str | None) -> Source:
    """The Source of a file; if it is one of several in a folder, its class names are those of the training split."""
    folder = path.parent
    beside = _files_of(folder)
    names = [name for name, file in beside.items() if file == path]
    root = folder.parent if folder.name.lower() in _ANNOTATIONS else folder
    if names and len(beside) > 1:
        return _source(root, beside, split or names[0])
    return _source(root, {_split_of(path): path}, split)


def _files_of(folder: Path) -> dict[str, Path]:
    """The COCO files in a folder, by split; if they are for several tasks, those for detection."""
    names = [name for name in file_names(folder) if name.lower().endswith(".json")]
    if len(names) > _MOST_FILES:
        return {}
    instances = [name for name in names if name.startswith("instances")]
    names = instances or [name for name in names if not name.startswith(_OTHER_TASKS)]
    return {_split_of(folder / name): folder / name for name in names if _is_coco(folder / name)}


def _split_of(path: Path) -> str:
    """instances_train2017.json: train2017; train_coco.json: train."""
    words = r"[._-]?(annotations|annotation|coco|instances|image_info|labels)(?=$|[._-])"
    stem = re.sub(words, "", path.stem, flags=re.I)
    return stem.strip("._-") or ALL


def _is_coco(path: Path) -> bool:
    """Whether a JSON file has COCO's keys."""
    data = path.read_bytes().replace(b"\0", b"")        # finds keys in UTF-16, too
    return all(key in data for key in _KEYS[:2])


def _source(root: Path, files: Mapping[str, Path], split: str | None) -> Source:
    table = lru_cache(maxsize=None)(_read_table)        # each file is read once
    chosen = find_split(split, files, root)
    file = files[chosen]
    names, whole = [chosen, file.parent.name], chosen if len(files) > 1 else (split or ALL)
    folders = [base / part for base in dict.fromkeys((file.parent, root))
               for part in (*[os.path.join("images", name) for name in names], *names, "images", ".", "data")]
    training = files[split_of_classes(files, chosen)]
    return table_source(
        table(file), "COCO", root, whole, [folder for folder in folders if folder.is_dir()], extents_to_corners, file,
        training=lambda: table(training), limits=root,
        split_sizes=split_sizes(files, lambda each: len(table(each).images)),
        annotated=table(file).is_annotated)


class _Table(BoxTable):
    is_annotated = True     # whether there is a list of annotations


def _read_table(path: Path) -> _Table:
    content, table = _read_json(path), _Table()
    table.is_annotated = isinstance(content.get("annotations"), list)
    categories = _read_categories(path, content)
    images: dict[Any, int] = {}
    for entry in _entries(path, content, "images"):
        file, key = entry.get("file_name"), _key(entry, "id")
        if not isinstance(file, str) or not file or key is None:
            table.faults["{} images have no file_name or no id", _LEFT_OUT] += 1
        else:
            row = table.add_image(file, (entry.get("width"), entry.get("height")))
            if images.setdefault(key, row) != row:
                for each in (row, images[key]):
                    table.fail(each, f"another image has the same id {key!r}: whose annotations these are is unknown")
    annotations = _entries(path, content, "annotations") if table.is_annotated else ()
    _check_ids(path, annotations, "image_id", "images", images)
    _check_ids(path, annotations, "category_id", "categories", categories)
    for entry in annotations:
        _add(table, entry, images.get(_key(entry, "image_id")), categories)
    return table


def _read_categories(path: Path, content: Mapping[str, Any]) -> dict[Any, str]:
    """Names by id; '' for a category without a name. Raises DatasetError if an id has two names."""
    names: dict[Any, str] = {}
    for entry in _entries(path, content, "categories"):
        key, name = _key(entry, "id"), " ".join(str(entry.get("name") or "").split())
        if names.setdefault(key, name) != name:
            raise DatasetError(f"{path}: categories: {names[key]!r} and {name!r} have the same id {key!r}; give each "
                               "its own, in annotations, too")
    return names


def _check_ids(path: Path, annotations: Collection[Mapping[str, Any]], name: str, of: str,
               known: Mapping[Any, object]) -> None:
    """Raise DatasetError if there are annotations, but none refers to a known id: 7 is not '7'."""
    if annotations and known and not any(_key(entry, name) in known for entry in annotations):
        found = dict.fromkeys(_key(entry, name) for entry in annotations)
        there, ids = (printable(", ".join(map(repr, [*keys][:_SHOWN]))) for keys in (found, known))
        raise DatasetError(f"{path}: no {name} of its annotations, such as {there}, is an id of its {of}, such as "
                           f"{ids}")


def _add(table: BoxTable, entry: Mapping[str, Any], row: int | None, categories: Mapping[Any, str]) -> None:
    """Add an annotation to the table."""
    category = _key(entry, "category_id")
    if row is None:
        table.faults["{} annotations are of images that the file does not list", _LEFT_OUT] += 1
        return
    name = categories.get(category, "")
    if not name:
        name = f"category {category}"
        table.is_no_class(name)
    try:
        crowd = is_true(entry.get("iscrowd"))
        table.add(row, name, _box(entry), crowd or is_true(entry.get("ignore")), crowd)
    except (ValueError, TypeError, OverflowError) as error:
        table.fail(row, f"annotation {printable(str(entry.get('id')))}: {error}")


def _box(entry: Mapping[str, Any]) -> Sequence[float]:
    """x, y, width, height of an annotation. Raises ValueError."""
    box = entry.get("bbox")
    if isinstance(box, list) and len(box) == 4:
        return [float(value) for value in box]
    polygons = entry.get("segmentation")
    if not box and isinstance(polygons, list) and polygons:
        points = np.concatenate([np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in polygons])
        low, high = points.min(axis=0), points.max(axis=0)
        return [*low.tolist(), *(high - low).tolist()]
    raise ValueError(f"expected bbox [x, y, width, height], found {printable(repr(box)[:60])}")


def _key(entry: Mapping[str, Any], name: str) -> float | str | None:
    """An id, which may be a number or a string; None for anything else."""
    key = entry.get(name)
    return key if isinstance(key, int | float | str) else None


def _entries(path: Path, content: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    entries = content.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DatasetError(f"{path}: expected a list of objects under {key!r}, as COCO's; found "
                           f"{type(entries).__name__}")
    return entries


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = load_json(path)
    except (TextError, OSError) as error:
        raise DatasetError(message_of(error)) from None
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: expected an object with images, annotations and categories, as COCO's")
    return content
