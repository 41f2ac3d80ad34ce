"""Data sets by name or path."""
from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from datasets.imdb import imdb
from datasets.joined import JoinedImdb
from datasets.pascal_voc import pascal_voc
from datasets.voc_folder import VocFolder, find_classes
from datasets.voc_layout import DatasetError, Layout, find_layout

_registered: dict[str, Callable[[], imdb]] = {}


def register(name: str, make: Callable[[], imdb]) -> None:
    """Let get_imdb(name) call make(). Raises ValueError if the name is taken."""
    if name in _registered:
        raise ValueError(f"a data set named {name!r} is registered already")
    _registered[name] = make


def get_imdb(name: str, classes: Sequence[str] | None = None) -> imdb:
    """A data set, or several joined by '+'.

    name     'voc_2007_trainval', 'voc_2012_test' (development kit in data/VOCdevkit<year> or data/VOCdevkit),
             a name given to `register`, or a path with an optional split: 'path/to/BCCD:train',
             'path/images/train', 'path/to/data.yml:test' (see voc_layout.py)
    classes  names, background first. Default: VOC's own; for a path those annotated in its training split (of all
             joined paths)
    Raises DatasetError that says what is missing.
    """
    parts = name.split("+")
    if len(parts) == 1:
        return _single(name, classes)
    if classes is None:
        layouts = [_layout(part) for part in parts if not _is_name(part)]
        if len(layouts) == len(parts) and not any("classes" in layout.options for layout in layouts):
            classes = find_classes([file for layout in layouts for file in layout.training])
    return JoinedImdb([_single(part, classes) for part in parts])


def _single(name: str, classes: Sequence[str] | None) -> imdb:
    if name in _registered:
        return _registered[name]()
    voc = re.fullmatch(r"voc_(\d{4})_(\w+)", name)
    if voc:
        return pascal_voc(voc[2], voc[1], classes=classes)
    return VocFolder(_layout(name), classes)


def _is_name(name: str) -> bool:
    return name in _registered or re.fullmatch(r"voc_(\d{4})_(\w+)", name) is not None


def _layout(name: str) -> Layout:
    path, separator, split = name.rpartition(":")
    if not separator or "/" in split or "\\" in split:      # no split; C:\data is no split either
        path, split = name, ""
    try:
        return find_layout(path, split or None)
    except DatasetError as error:
        known = f"; registered names: {', '.join(_registered)}" if _registered else ""
        raise DatasetError(f"{error}. Names look like voc_2007_trainval, paths like "
                           f"path/to/folder:train{known}") from None


def list_imdbs() -> list[str]:
    """Names that get_imdb knows besides paths."""
    splits = ("train", "val", "trainval", "test")
    return [*(f"voc_{year}_{split}" for year in ("2007", "2012") for split in splits), *_registered]
