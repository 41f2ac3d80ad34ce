"""Finds the image files that an annotation file lists, even if the data set was moved since it was written."""
from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from datasets.folders import file_names, is_inside
from datasets.source import SourceImage
from utils.image_header import IMAGE_SUFFIXES


class ListedFiles:
    """Searches folders for files; the listing of each folder is cached.

    folders  folders in search order
    root     folder that relative paths must not leave
    """

    def __init__(self, folders: Sequence[Path], root: Path) -> None:
        self._folders = list(dict.fromkeys(map(str, folders)))
        self._root = os.path.abspath(root)
        self._listings: dict[str, dict[str, str]] = {}

    def find(self, listed: str) -> SourceImage:
        """The image of a listed path; its name is preliminary, see `named_by_files`.

        Paths may have slashes or backslashes, be URLs, or be absolute paths on the machine where the list was written:
        in these cases the longest end of the path that exists in a folder is used.
        """
        path = re.sub(r"^\w[\w+.-]+://[^/]*/?|[?#].*$", "", listed) if "://" in listed else listed
        path = path.replace("\\", "/")
        if os.path.isabs(path) and os.path.isfile(path):
            return _usable(listed, os.path.normpath(path))
        parts = [part for part in path.split("/") if part not in ("", ".")]
        found = self._beside(parts) if ".." in parts else None
        below = parts[len(parts) - parts[::-1].index(".."):] if ".." in parts else parts
        for first in range(len(below)):
            for folder in self._folders:
                found = found or self._existing(os.path.join(folder, *below[first:]))
        if found:
            return _usable(listed, found)
        if ".." in parts:
            return SourceImage(listed, None, f"leads out of {self._root}, or to no image")
        return SourceImage(listed, None, f"there is no such image in {' or '.join(self._folders[:3])}")

    def _beside(self, parts: Sequence[str]) -> str | None:
        """The file of a path with '..' that stays below the root."""
        files = [os.path.abspath(os.path.join(folder, *parts)) for folder in self._folders]
        inside = [file for file in files if is_inside(os.path.relpath(file, self._root))]
        return next(filter(None, map(self._existing, inside)), None)

    def _existing(self, file: str) -> str | None:
        """The path of an existing file; its extension may be missing in `file`, and its name differ in case."""
        folder, name = os.path.split(file)
        if folder not in self._listings:
            names = file_names(Path(folder))
            images = [entry for entry in names if os.path.splitext(entry)[1].lower() in IMAGE_SUFFIXES]
            self._listings[folder] = {**{os.path.splitext(entry)[0]: entry for entry in images},
                                      **{entry.lower(): entry for entry in names}, **{entry: entry for entry in names}}
        known = self._listings[folder]
        found = known.get(name) or known.get(name.lower())
        return os.path.join(folder, found) if found else None


def _usable(listed: str, file: str) -> SourceImage:
    if os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES:
        return SourceImage(listed, file)
    return SourceImage(listed, None, f"{os.path.basename(file)}: unknown file extension; known are "
                                     f"{' '.join(IMAGE_SUFFIXES)}")


def named_by_files(images: Iterable[SourceImage]) -> list[SourceImage]:
    """Name images by their files, relative to the common folder of all of them and without extension.

    The extension is kept if names would be equal without it. Images without a file keep their names.
    """
    images = list(images)
    files = [os.path.abspath(image.file) for image in images if image.file]
    folder = os.path.commonpath({os.path.dirname(file) for file in files}) if files else ""
    names = {file: os.path.relpath(file, folder) for file in files}
    stems = Counter(os.path.splitext(name)[0] for name in set(names.values()))
    unique = {file: stem if stems[stem := os.path.splitext(name)[0]] == 1 else name for file, name in names.items()}
    return [SourceImage(unique[os.path.abspath(image.file)], image.file) if image.file else image for image in images]
