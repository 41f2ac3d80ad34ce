"""The catalogue of annotation formats.

A format is one reader: a function of a path and a split that returns a Source, or None for a path that is not in this
format. Cleaning, reports, training and evaluation work on the Source.
"""
from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from datasets.formats import coco, csv_boxes, cvat, kitti, labelme, voc, wider_face, yolo
from datasets.formats.unknown import not_understood
from datasets.source import DatasetError, Source

Reader = Callable[[Path, str | None], Source | None]

_readers: list[Reader] = [      # in the order in which they are tried: a folder of VOC may hold other formats too
    cvat.read, yolo.read_file,      # XML and YAML too, but not VOC's
    voc.read, labelme.read, coco.read, yolo.read, csv_boxes.read, kitti.read, wider_face.read,
]


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
    for reader in _readers:
        source = reader(path, split)
        if source is not None:
            return dataclasses.replace(source, location=str(path.resolve()))
    raise DatasetError(f"{path}: {not_understood(path)}")
