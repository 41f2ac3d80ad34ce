"""Shared by the readers of formats: listing folders, choosing a split, lists of image names.

File names are strings: for a large data set Paths would take too much memory.
"""
from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from datasets.source import DatasetError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
TRAINING_SPLITS = ("trainval", "train")     # where class names are looked up, in this order
_NO_NAMES = {"images", "data", "dataset", "jpegimages"}     # generic folder names


def file_names(folder: Path) -> list[str]:
    """Sorted names of a folder's entries; none if there is no such folder."""
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def image_files(folder: Path) -> dict[str, str]:
    """The image files in a folder, by name without extension."""
    parts = ((file, *os.path.splitext(file)) for file in file_names(folder))
    return {stem: os.path.join(folder, file) for file, stem, suffix in parts if suffix.lower() in IMAGE_SUFFIXES}


def entries(folder: Path) -> Iterator[Path]:
    """A folder's entries; none if there is no such folder."""
    return folder.iterdir() if folder.is_dir() else iter(())


def choose_split(split: str | None, splits: Collection[str], where: Path) -> str | None:
    """`split`, or if None the one to train on, if any. Raises DatasetError if there is no such split."""
    if split is None:
        return training_split(splits)
    if split not in splits:
        raise DatasetError(f"{where}: no split {split!r}; there are: {', '.join(sorted(splits)) or 'none'}")
    return split


def training_split(splits: Collection[str]) -> str | None:
    """The split to train on, which determines the class names; None if there is none."""
    return next((name for name in TRAINING_SPLITS if name in splits), None)


def telling_name(folder: Path) -> str:
    """Name of a folder, or of its parent if the folder has a generic name such as 'images'."""
    folder = folder.resolve()
    return folder.parent.name if folder.name.lower() in _NO_NAMES and folder.parent.name else folder.name


def read_image_set(path: Path, known: Collection[str] = ()) -> list[str]:
    """Names of images, one per line.

    A label 1, 0 or -1 after the name, as in VOC's files of one class, is ignored, unless it is part of a `known` name
    such as 'photo 1'.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DatasetError(f"{path}: the list of images cannot be read: {error}") from error
    names = [_without_suffix(line.strip()) for line in lines if line.strip()]
    return [name if name in known else _without_suffix(re.sub(r"\s+(-?1|0)$", "", name)) for name in names]


def _without_suffix(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in IMAGE_SUFFIXES else name
