"""The registry of annotation formats.

A format is one reader: a function of a path and a split that returns a Source, or None if the path is not in this
format. Cleaning, reports, training and evaluation work on the Source.
"""
from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from datasets.folders import subfolders
from datasets.formats import coco, csv_boxes, cvat, kitti, labelme, voc, wider_face, yolo
from datasets.formats.unknown import not_understood
from datasets.source import DatasetError, Source
from datasets.splits import is_split_name

Reader = Callable[[Path, str | None], Source | None]

_readers: list[Reader] = [      # in the order in which they are tried, as a VOC folder may contain other formats, too
    cvat.read, yolo.read_file,      # before VOC: they read XML and YAML, too
    voc.read, labelme.read, coco.read, yolo.read, csv_boxes.read, kitti.read, wider_face.read,
]
_PARTS = {"images", "image", "imgs", "img", "jpegimages", "imagesets", "annotations", "annotation", "annots", "labels",
          "xmls", "xml", "json", "jsons"}       # folders that are parts of one data set


def register(reader: Reader) -> Reader:
    """Add a format, which is tried before the existing ones. Can be used as a decorator of the reader.

    reader  reader(path, split): `path` need not exist; `split` None means the one to train on, or else all images.
            Returns None if the path is not in this format; raises DatasetError that says what is missing or wrong
    Raises DatasetError if the reader is already registered.
    """
    if reader in _readers:
        raise DatasetError(f"{reader.__module__}.{reader.__qualname__} is registered already")
    _readers.insert(0, reader)
    return reader


def find_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """Read a split of the data set at a path with the first format that recognises it. Raises DatasetError."""
    path = Path(path)
    several = _data_sets_in(path)
    if len({*several.values()} - {""}) > 1:
        there = [f"{folder} ({kind})" if kind else str(folder) for folder, kind in several.items()]
        raise DatasetError(f"{path}: holds several data sets; name one of {', '.join(there)}")
    source = _read(path, split)
    if source is not None:
        return dataclasses.replace(source, location=str(path.resolve()))
    if any(several.values()):
        raise DatasetError(f"{path}: is not a data set itself; name {' or '.join(map(str, several))}")
    raise DatasetError(f"{path}: {not_understood(path)}")


def _read(path: Path, split: str | None) -> Source | None:
    return next((source for reader in _readers if (source := reader(path, split)) is not None), None)


def _data_sets_in(path: Path) -> dict[Path, str]:
    """The data sets among the subfolders of a folder, with their formats ('' if one cannot be read).

    There are none if a subfolder's name is that of a part of a data set, or of a split.
    """
    folders = subfolders(path)
    if any(folder.name.lower() in _PARTS or is_split_name(folder.name) for folder in folders):
        return {}
    found = {}
    for folder in folders:
        try:
            source = _read(folder, None)
        except DatasetError:
            found[folder] = ""
            continue
        if source and any(image.file for image in source.images):
            found[folder] = source.format
    return found
