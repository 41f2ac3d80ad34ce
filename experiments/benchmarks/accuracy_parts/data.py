"""Locates data sets and weights, and divides `trainval` into the parts on which recipes are tuned."""
from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from accuracy_parts.recipes import DataSet
from datasets.factory import get_imdb
from datasets.splits import shuffled_by_name
from utils.errors import UserError
from utils.files import write_text

SHARED_DATA = "FRCNN_SHARED_DATA"       # environment variable: folder of data sets, with weights in `imagenet`
_VALIDATION = 4                         # one in four images of trainval is in `val`


@dataclass(frozen=True)
class Split:
    """A data set's name in the recipes, and the splits to train and to test on, as for --imdb."""

    name: str
    train: str
    test: str


def shared_data(root: Path) -> Path:
    """The folder of data sets and weights; default: ../shared/data beside the checkout `root`."""
    return Path(os.environ.get(SHARED_DATA, root.parent / "shared" / "data"))


def find_data_set(given: str, known: Mapping[str, DataSet], folder: Path) -> tuple[str, Path]:
    """Name and folder of a data set that is given by its path, or by its name in `folder`. Raises UserError."""
    path = Path(given) if Path(given).is_dir() else folder / given
    name = path.resolve().name
    if name not in known:
        raise UserError(f"{given}: there is no recipe for a data set {name}: choose {', '.join(known)} or add one to "
                        f"{Path(__file__).with_name('recipes.py')}")
    if not path.is_dir():
        raise UserError(f"{given}: there is no folder {path}; give a path, or set {SHARED_DATA}")
    return name, path.resolve()


def published_split(name: str, path: Path) -> Split:
    """Train on trainval, test on test."""
    return Split(name, f"{path}:trainval", f"{path}:test")


def choosing_split(name: str, path: Path, folder: Path) -> Split:
    """Train on three quarters of trainval, test on the rest; writes the lists of images into `folder`.

    The division is the same in every run, whatever the order of the images: it sorts by the SHA-256 of their names.
    """
    train, val = parts_of(get_imdb(f"{path}:trainval").image_index)
    write_lines(folder / "train.txt", train)
    write_lines(folder / "val.txt", val)
    content = {"root": str(path), "image_sets": {part: str((folder / f"{part}.txt").resolve())
                                                 for part in ("train", "val")}}
    description = folder / f"{name}.yml"
    write_text(description, yaml.safe_dump(content))
    return Split(name, f"{description.resolve()}:train", f"{description.resolve()}:val")


def parts_of(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Names to train on and to validate on, sorted."""
    ordered = shuffled_by_name(names)
    count = len(ordered) // _VALIDATION
    return sorted(ordered[count:]), sorted(ordered[:count])


def write_lines(path: Path, lines: Sequence[str]) -> Path:
    """Write a text file, replacing it atomically; returns its path."""
    return write_text(path, "\n".join(lines) + "\n")
