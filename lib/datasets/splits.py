"""Finds the splits of a data set, and divides data sets without splits."""
from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from datasets.folders import TRAINING_SPLITS, subfolders, training_split
from datasets.source import DatasetError, Share, Source

T = TypeVar("T")

ALL = "all"     # split of a data set without splits
_SYNONYMS = ({"train", "training"}, {"val", "valid", "validation", "dev"}, {"test", "testing"})


def find_split(split: str | None, splits: Collection[str], where: str | os.PathLike) -> str:
    """The split of this name, or one with a synonymous name: 'val' finds 'valid', 'train' finds 'train2017'.

    None is the split to train on or, if there is no such split, the only one. Raises DatasetError that lists the
    existing splits.
    """
    wanted = [split] if split is not None else [*TRAINING_SPLITS]
    for name in wanted:
        found = [name] if name in splits else [known for known in splits if is_same_split(name, known)]
        if len(found) == 1:
            return found[0]
    if split is None and len(splits) == 1:
        only = next(iter(splits))
        _refuse_unread_training(Path(where), only)
        return only
    if [*splits] == [ALL]:
        raise DatasetError(f"{where}: no split {split!r}, as it is not divided: leave ':{split}' out, or divide it by "
                           "--split 0.8")
    missing = f"no split {split!r}" if split is not None else "there is no split train; name another one"
    raise DatasetError(f"{where}: {missing}; there are: {', '.join(sorted(splits)) or 'none'}")


def _refuse_unread_training(where: Path, only: str) -> None:
    """Raise DatasetError if a folder's only readable split is held out, but there is a folder of a training split."""
    held_out = is_split_name(only) and not is_same_split("train", only)
    unread = [folder for folder in subfolders(where) if is_same_split("train", folder.name)] if held_out else []
    if unread:
        raise DatasetError(f"{unread[0]}: no annotations of the kind that the split '{only}' has: fix them, or name "
                           f"the split '{only}'")


def split_of_classes(splits: Collection[str], chosen: str) -> str:
    """The split whose objects determine the class names: the training split, or else the chosen one."""
    exact = training_split(splits)
    found = [name for name in splits if is_same_split("train", name)]
    return exact or (found[0] if len(found) == 1 else chosen)


def is_split_name(name: str) -> bool:
    """Whether a folder's name is that of a split."""
    return any(is_same_split(wanted, name) for group in _SYNONYMS for wanted in group)


def is_same_split(wanted: str, name: str) -> bool:
    """Whether a split's name is this word or a synonym, apart from a number at its end."""
    plain = re.sub(r"[-_]?\d+$", "", name).lower()
    return plain in next((group for group in _SYNONYMS if wanted in group), {wanted})


def split_sizes(splits: Mapping[str, T], count: Callable[[T], int]) -> Callable[[], dict[str, int]]:
    """A function for `Source.split_sizes`; `count` returns the number of images of a split.

    A single split is not listed. Splits that cannot be read are left out.
    """
    def sizes() -> dict[str, int]:
        found = {}
        for name, split in splits.items() if len(splits) > 1 else ():
            with contextlib.suppress(DatasetError):
                found[name] = count(split)
        return found
    return sizes


def split_folders(path: Path, split: str | None,
                  holds: Callable[[Path], bool]) -> tuple[Path, str | None, dict[str, Path]]:
    """The data set's folder, the split and the folder of each split; no folders if the data set is a single folder.

    If `path` lies beside the folder of a training split, it is a split of the folder above.

    holds  whether a folder holds a split
    """
    if not holds(path):
        return path, split, {entry.name: entry for entry in subfolders(path) if holds(entry)}
    beside = [path.parent / name for name in TRAINING_SPLITS]
    if split is None and any(folder.is_dir() and holds(folder) for folder in beside):
        return split_folders(path.parent, path.name, lambda folder: folder != path.parent and holds(folder))
    return path, split, {}


def shuffled_by_name(names: Iterable[str], seed: int | None = None) -> list[str]:
    """Names in the order of the SHA-256 of seed and name: the same in every run, whatever their original order."""
    prefix = "" if seed is None else f"{seed} "
    return sorted(names, key=lambda name: hashlib.sha256(f"{prefix}{name}".encode("utf-8", "surrogateescape")).digest())


def part_of(source: Source, split: str | None, share: Share) -> Source:
    """Divide a data set without splits: 'train' (or None) is this share of its images, 'val' or 'test' the rest.

    The images are ordered by a hash of the seed and their names, so the split depends on nothing else and is the same
    in every run. The class names are those of all images. Raises DatasetError if the data set has splits, or if one
    would be empty.
    """
    if source.split != ALL and len(source.split_sizes()) > 1:
        there = ", ".join(source.split_sizes())
        raise DatasetError(f"{source.location}: has the splits {there}: --split is for data sets without; name one of "
                           "them instead")
    split = split or "train"
    if not any(is_same_split(name, split) for name in ("train", "val", "test")):
        raise DatasetError(f"{source.location}: no split {split!r}; --split makes train and test (or val)")
    images = {image.name: image for image in source.images}
    order = shuffled_by_name(images, share.seed)
    count = round(share.train * len(order))
    if not 0 < count < len(order):
        raise DatasetError(f"{source.location}: {share.train:g} of its {len(order)} images are {count}: one split "
                           "would be empty")
    rest = "test" if is_same_split("train", split) else split
    sizes = {"train": count, rest: len(order) - count}
    chosen = set(order[:count] if is_same_split("train", split) else order[count:])
    return dataclasses.replace(source, name=f"{source.name.removesuffix(f'_{source.split}')}_{split}", split=split,
                               share=share,
                               images=[image for name, image in images.items() if name in chosen],
                               split_sizes=lambda: sizes)
