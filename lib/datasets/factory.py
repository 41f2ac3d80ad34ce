"""Finds data sets by name or path."""
from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from datasets.annotated_images import AnnotatedImages
from datasets.class_names import find_classes
from datasets.formats import find_source
from datasets.imdb import imdb
from datasets.joined import JoinedImdb
from datasets.pascal_voc import pascal_voc
from datasets.registry import register as register
from datasets.registry import registered
from datasets.source import DatasetError, Share, Source
from datasets.splits import is_same_split, part_of


def get_imdb(name: str, classes: Sequence[str] | None = None) -> imdb:
    """A data set, or several joined by '+'.

    name     'voc_2007_trainval', 'voc_2012_test' (development kit in data/VOCdevkit<year> or data/VOCdevkit),
             a name given to `register`, or a path with an optional split: 'path/to/BCCD:train',
             'path/images/train', 'path/to/data.yml:test' in one of the formats of datasets/formats;
             'path:train@0.8' and 'path:test@0.8' divide a data set without splits: 0.8 of the images, and the rest;
             'path:train@0.8@7' divides it differently, by the seed 7
    classes  names, background first. Default: VOC's own; for paths those annotated in the training splits of all of
             them
    Raises DatasetError that says what is missing.
    """
    parts = [_find(part) for part in _parts(name)]
    if len(parts) == 1:
        return _make(parts[0], classes)
    sources = [part for part in parts if isinstance(part, Source) and part.classes is None]
    if classes is None and len(sources) == len(parts):
        classes = find_classes(sources)
    return JoinedImdb([_make(part, classes) for part in parts])


def _parts(name: str) -> list[str]:
    """Split a name into those of joined data sets; a '+' may also be part of an existing path."""
    pieces, parts = name.split("+"), []
    while pieces:
        counts = range(len(pieces), 0, -1)
        count = next((count for count in counts if _is_path("+".join(pieces[:count]))), 1)
        parts.append("+".join(pieces[:count]))
        pieces = pieces[count:]
    return parts


def _is_path(name: str) -> bool:
    """Whether a name is the path of a file or folder, optionally followed by a split."""
    name = _without_share(name)[0]
    path, _, split = name.rpartition(":")
    return os.path.exists(name) or os.path.exists(path) and not {"+", "/"} & set(split)


def _without_share(name: str) -> tuple[str, Share | None]:
    """Split 'path:train@0.8' into 'path:train' and the share; None if there is no share, or it is part of a path."""
    found = None if os.path.exists(name) else re.fullmatch(r"(.+)@(0?\.\d+)(?:@(\d+))?", name)
    return (found[1], Share(float(found[2]), int(found[3]) if found[3] else None)) if found else (name, None)


def with_share(name: str, share: Share, default: str = "train", rest: bool = False) -> str:
    """Add a share to the name of a data set, or of each joined one, and the `default` split if it names none.

    rest  use the split test, whatever the name says
    """
    divided = [_divided(part) for part in _parts(name)]
    return "+".join(f"{path}:{'test' if rest else split or default}{share}" for path, split, _ in divided)


def splits_of(name: str) -> list[str]:
    """The splits of the data set at a path; none if the name has a split, or is not a single path."""
    path, split, share = _divided(name)
    if split or share or not os.path.exists(path) or len(_parts(name)) > 1:
        return []
    source = find_source(path)
    # Otherwise the path is the folder of a split
    return [*source.split_sizes()] if _has_split(path, source.split) else []


def unseen_part_of(name: str) -> str | None:
    """The held-out part of a data set, such as 'data/cells:test', if another part is trained on; else None."""
    path, split, share = _divided(name)
    if len(_parts(name)) > 1 or not os.path.exists(path):
        return None
    if share:
        return f"{path}:test{share}"
    try:
        source = find_source(path, split)
    except DatasetError:        # it was removed
        return None
    return _other_part(path, source, ["test", "val"])


def validation_part_of(name: str, source: Source) -> str | None:
    """The part of a data set to validate on, such as 'data/cells:val', when training on `source`; or None.

    name  of the training data
    """
    path, _, share = _divided(name)
    return None if share or len(_parts(name)) > 1 else _other_part(path, source, ["val"])


def _other_part(path: str, source: Source, words: Sequence[str]) -> str | None:
    """The name of the first split that matches one of these words, other than that of `source`; None if there is none.

    path  where `source` was found; if it is the folder of one split, the name starts with the folder above
    """
    others = [(other, place) for wanted in words if not (wanted == "val" and source.split == "trainval")
              for other in source.split_sizes() if other != source.split and is_same_split(wanted, other)
              for place in (path, os.path.dirname(os.path.abspath(path)))]
    return next((f"{place}:{other}" for other, place in others if _has_split(place, other)), None)


def _has_split(path: str, split: str) -> bool:
    try:
        return find_source(path, split).split == split
    except DatasetError:
        return False


def divisions_of_both(trained: str, tested: str) -> Iterator[tuple[str, Share, Share | None]]:
    """Paths that are both trained on as a share and tested on, each with the shares for training and for testing."""
    shares = {os.path.realpath(path): share for path, _, share in map(_divided, _parts(tested))}
    for path, _, share in map(_divided, _parts(trained)):
        if share and os.path.realpath(path) in shares:
            yield path, share, shares[os.path.realpath(path)]


def _divided(name: str) -> tuple[str, str | None, Share | None]:
    """Split a name into path, split and share."""
    whole, share = _without_share(name)
    path, separator, split = whole.rpartition(":")
    if not separator or "/" in split or "\\" in split or os.path.exists(whole):     # no split; nor is C:\data
        return whole, None, share
    return path, split or None, share


def _find(name: str) -> Source | str:
    """The source at a path; a name that is not a path is returned as it is."""
    if name in registered or re.fullmatch(r"voc_\d{4}_\w+", name):
        return name
    path, split, share = _divided(name)
    if not path:
        raise DatasetError(f"{name!r}: names no data set; expected a name or path, several joined by '+'")
    try:
        return find_source(path, split) if share is None else part_of(find_source(path), split, share)
    except DatasetError as error:
        if os.path.exists(path):
            raise
        known = f"; registered names: {', '.join(registered)}" if registered else ""
        raise DatasetError(f"{error}. Names look like voc_2007_trainval, paths like "
                           f"path/to/folder:train{known}") from None


def _make(found: Source | str, classes: Sequence[str] | None) -> imdb:
    if isinstance(found, Source):
        return AnnotatedImages(found, classes)
    if found in registered:
        made = registered[found]()
        if classes is not None:
            made.use_classes(classes)
        return made
    _, year, image_set = found.split("_", 2)
    return pascal_voc(image_set, year, classes=classes)


def list_imdbs() -> list[str]:
    """Names that get_imdb accepts besides paths."""
    splits = ("train", "val", "trainval", "test")
    return [*(f"voc_{year}_{split}" for year in ("2007", "2012") for split in splits), *registered]
