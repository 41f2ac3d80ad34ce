"""The cleaned images of a data set with their objects, as the writers take them."""
from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from datasets.annotated_images import AnnotatedImages
from datasets.imdb import imdb
from datasets.joined import JoinedImdb
from datasets.records import Record
from datasets.source import ANY_CLASS, DatasetError
from utils.embedded_images import ending_of, open_image
from utils.files import copy_content
from utils.image_header import IMAGE_SUFFIXES


def records_of(data: imdb) -> list[Record]:
    """The images of a data set that was read from files. Raises DatasetError for another kind."""
    parts = data.parts if isinstance(data, JoinedImdb) else [data]
    found: list[Record] = []
    for part in parts:
        if not isinstance(part, AnnotatedImages):
            raise DatasetError(f"{part.name}: only data sets that are read from files can be converted")
        found += part.records()
    return [dataclasses.replace(record, name=name) for record, name in zip(found, data.image_index, strict=True)]


def plain_names(records: Sequence[Record]) -> list[Record]:
    """Rename images whose names seem to have the extension of an image: 'a.jpg' becomes 'a_jpg'."""
    taken = {record.name for record in records}
    return [dataclasses.replace(record, name=_plain(record.name, taken)) for record in records]


def _plain(name: str, taken: set[str]) -> str:
    stem, suffix = os.path.splitext(name)
    if suffix.lower() not in IMAGE_SUFFIXES:
        return name
    plain = f"{stem}_{suffix[1:]}"
    while plain in taken:
        plain += "_"
    taken.add(plain)
    return plain


def file_of(record: Record) -> str:
    """Relative path of the copy of an image."""
    return record.name + ending_of(record.path)


def copy_images(records: Iterable[Record], folder: Path) -> None:
    """Copy image files into a folder under the images' names; images embedded in annotation files become files."""
    for record in records:
        target = folder / file_of(record)
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_image(record.path) as source:
            copy_content(source, target)


def of_classes(record: Record) -> np.ndarray:
    """Indices of the objects that have a class, which regions of any class do not."""
    return np.array([row for row, name in enumerate(record.names) if name != ANY_CLASS], np.int64)


def rounded(value: float) -> float:
    """Round a coordinate to a thousandth of a pixel; whole numbers become int."""
    number = round(float(value), 3)
    return int(number) if number == int(number) else number
