"""Helpers for the readers of formats: listing folders, choosing a split, reading lists of image names.

File names are strings, as Paths would take too much memory for a large data set.
"""
from __future__ import annotations

import difflib
import os
import re
from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from pathlib import Path

from datasets.source import DatasetError, SourceImage
from utils.image_header import IMAGE_SUFFIXES
from utils.text import TextError, printable, read_lines

TRAINING_SPLITS = ("trainval", "train")     # splits that determine the class names, in order of preference
_NO_NAMES = {"images", "data", "dataset", "jpegimages"}     # generic folder names
_NO_PICTURES = (".xml", ".txt", ".json", ".csv", ".yml", ".yaml")
_SHOWN = 3      # names that a message gives as examples
_SEARCHED = 10_000      # names that are searched for a similar one


def file_names(folder: Path) -> list[str]:
    """Sorted names of a folder's entries; none if there is no such folder."""
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def image_names(folder: Path) -> list[str]:
    """Names of the image files in a folder, without extension."""
    parts = map(os.path.splitext, file_names(folder))
    return [stem for stem, suffix in parts if suffix.lower() in IMAGE_SUFFIXES]


def find_images(folder: Path, names: Iterable[str]) -> list[SourceImage]:
    """The images with these names in a folder, or below it for names with folders such as 'day/0001'.

    If there is not exactly one file for a name, its image has the reason instead of a file.
    """
    names = list(names)
    inner = {os.path.dirname(name) for name in names}
    files = {name: found for part in inner if is_inside(part) for name, found in _files_by_name(folder, part).items()}
    return [_find_image(folder, name, files.get(name)) for name in names]


def _find_image(folder: Path, name: str, found: list[str] | None) -> SourceImage:
    if found is None:
        return SourceImage(name, None)
    if len(found) > 1:
        return SourceImage(name, None, _alike(found))
    if os.path.splitext(found[0])[1].lower() not in IMAGE_SUFFIXES:
        return SourceImage(name, None, f"{os.path.basename(found[0])}: unknown file extension; known are "
                                       f"{' '.join(IMAGE_SUFFIXES)}")
    return SourceImage(name, os.path.join(folder, found[0]))


def _files_by_name(folder: Path, inner: str) -> dict[str, list[str]]:
    """The image files in folder/inner by name without extension; for names without an image file, other files.

    Names and files include `inner`.
    """
    images: defaultdict[str, list[str]] = defaultdict(list)
    others: dict[str, list[str]] = {}
    for file in file_names(folder / inner):
        name = os.path.join(inner, file)
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in IMAGE_SUFFIXES:
            images[stem].append(name)
        elif suffix.lower() not in _NO_PICTURES and not file.startswith("."):
            others[stem] = [name]
    return {**others, **images}


def _alike(files: Iterable[str]) -> str:
    return f"{' and '.join(map(os.path.basename, files))} have the same name apart from the extension; keep one"


def is_inside(folder: str) -> bool:
    """Whether a path is relative and does not leave its base folder."""
    return not os.path.isabs(folder) and ".." not in folder.split("/")


def entries(folder: Path) -> Iterator[Path]:
    """A folder's entries; none if there is no such folder."""
    return folder.iterdir() if folder.is_dir() else iter(())


def subfolders(folder: Path) -> list[Path]:
    """Sorted folders in a folder; none if there is no such folder. Fast even if it holds many files."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as found:
        return [folder / name for name in sorted(entry.name for entry in found if entry.is_dir())]


def training_split(splits: Collection[str]) -> str | None:
    """The split to train on, which determines the class names; None if there is none."""
    return next((name for name in TRAINING_SPLITS if name in splits), None)


def telling_name(folder: Path) -> str:
    """Name of a folder, or of its parent if the folder has a generic name such as 'images'."""
    folder = folder.resolve()
    return folder.parent.name if folder.name.lower() in _NO_NAMES and folder.parent.name else folder.name


def read_image_set(path: Path, known: Container[str] = (), folder: str | os.PathLike | None = None) -> list[str]:
    """Names of images, one per line.

    A label 1, 0 or -1 after the name, as in VOC's lists for one class, is ignored, unless it is part of a `known` name
    such as 'photo 1'. Paths of images in `folder` become names relative to it.
    """
    try:
        lines = read_lines(path)
    except TextError as error:
        raise DatasetError(str(error)) from None
    except OSError as error:
        raise DatasetError(f"{path}: the list of images cannot be read: {error}") from error
    return [_image_name(line, known, folder) for line in lines]


def _image_name(line: str, known: Container[str], folder: str | os.PathLike | None) -> str:
    """The first interpretation of a line that is a known name, else the last one."""
    readings = [_without_suffix(line), _without_suffix(re.sub(r"\s+(-?1|0)$", "", line))]
    if folder:
        readings += [_relative(reading, folder) for reading in readings]
    return next((reading for reading in readings if reading in known), readings[-1])


def _relative(name: str, folder: str | os.PathLike) -> str:
    """'./JPEGImages/a', 'JPEGImages\\a' and '/data/cells/JPEGImages/a' become 'a' if `folder` is that JPEGImages."""
    path = os.path.normpath(name.replace("\\", "/"))
    if os.path.isabs(path):
        relative = os.path.relpath(os.path.realpath(path), os.path.realpath(folder))
        return relative if is_inside(relative) else path
    first, separator, rest = path.partition("/")
    return rest if separator and first == os.path.basename(folder) else path


class FileNames:
    """The names of the files in some folders, without extension, but with inner folders: 'day/0001'."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self._names: dict[str, set[str]] = {}       # by inner folder, listed on demand

    def __contains__(self, name: object) -> bool:
        inner, base = os.path.split(str(name))
        return base in self.names(inner) and str(name) == os.path.normpath(str(name))

    def names(self, inner: str = "") -> set[str]:
        """The names in an inner folder, without the folder's."""
        if inner not in self._names:
            files = [file for folder in self.folders for file in file_names(folder / inner)] if is_inside(inner) else []
            self._names[inner] = {os.path.splitext(file)[0] for file in files}
        return self._names[inner]


def check_list(path: Path, names: Sequence[str], known: FileNames) -> None:
    """Raise DatasetError if a list of images is empty, or none of its names is that of a known file."""
    if not names:
        raise DatasetError(f"{path}: the list of images is empty")
    if any(name in known for name in names):
        return
    first, where, there = names[0], " or ".join(map(str, known.folders)), sorted(known.names())
    near = difflib.get_close_matches(first, there[:_SEARCHED], 1) or there[:_SHOWN]
    raise DatasetError(f"{path}: none of its {len(names)} names, such as {printable(first)!r}, is that of a file in "
                       f"{where}, without extension; there are: {printable(', '.join(near)) or 'none'}")


def _without_suffix(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in IMAGE_SUFFIXES else name
