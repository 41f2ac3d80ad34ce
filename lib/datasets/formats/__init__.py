"""The catalogue of annotation formats.

A format is one reader: a function of a path and a split that returns a Source, or None for a path that is not in this
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

_readers: list[Reader] = [      # in the order in which they are tried: a folder of VOC may hold other formats too
    cvat.read, yolo.read_file,      # XML and YAML too, but not VOC's
    voc.read, labelme.read, coco.read, yolo.read, csv_boxes.read, kitti.read, wider_face.read,
]
_PARTS = {"images", "image", "imgs", "img", "jpegimages", "imagesets", "annotations", "annotation", "annots", "labels",
          "xmls", "xml", "json", "jsons"}       # folders of a data set


def register(reader: Reader) -> Reader:
    """Add a format, which is tried before the existing ones. May decorate its reader.

    reader  reader(path, split): `path` need not exist; `split` None means the one to train on, or else all images.
            Returns None if the path is not in this format; raises DatasetError that says what is missing or wrong
    Raises DatasetError if it is already registered.
    """
    if reader in _readers:
        raise DatasetError(f"{reader.__module__}.{reader.__qualname__} is registered already")
    _readers.insert(0, reader)
    return reader


def find_source(path: str | os.PathLike, split: str | None = None) -> Source:
    """A split of the data set at a path, by the first format that recognises it. Raises DatasetError."""
    path = Path(path)
    several = _data_sets_in(path)
    if len({*several.values()} - {""}) > 1:
        there = [f"{folder} ({kind})" if kind else str(folder) for folder, kind in several.items()]
        raise DatasetError(f"{path}: holds several data sets; name one of {', '.join(there)}")
    source = _read(path, split)
    if source is not None:
        return dataclasses.replace(source, location=str(path.resolve()))
    if any(several.values()):
        raise DatasetError(f"{path}: is no data set itself; name {' or '.join(map(str, several))}")
    raise DatasetError(f"{path}: {not_understood(path)}")


def _read(path: Path, split: str | None) -> Source | None:
    return next((source for reader in _readers if (source := reader(path, split)) is not None), None)


def _data_sets_in(path: Path) -> dict[Path, str]:
    """The folders in a folder that are data sets, with their formats; none if one of them is a part, or a split.

    The format of one that cannot be read is ''.
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
