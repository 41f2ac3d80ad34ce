"""KITTI's label files, one per image: lines of 15 columns, type truncated occluded alpha left top right bottom ...

  KITTI   training/label_2 and training/image_2, testing/image_2; lists of names in ImageSets/<split>.txt
  others  labels/ and images/, optionally one pair per split

Corners are inclusive and count from 0. DontCare is a region of any class, which is difficult.
"""
from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from datasets.box_table import BoxTable, as_corners, table_source
from datasets.folders import entries, file_names, image_names, read_image_set, subfolders
from datasets.source import ANY_CLASS, DatasetError, Source
from datasets.splits import ALL, find_split, split_of_classes, split_sizes
from utils.text import TextError, read_lines
from utils.timer import with_progress

_PAIRS = (("label_2", "image_2"), ("label_02", "image_02"), ("labels", "images"), ("label", "image"))
_COLUMNS = (15, 16)     # 16 with the score of a detection
_DONT_CARE = "dontcare"

Part = tuple[Path, Path, tuple[str, ...]]       # folders of labels and of images, and the images' names


def read(path: Path, split: str | None) -> Source | None:
    """A split of a folder; None for paths without KITTI's files."""
    parts = _parts(path)
    if not parts:
        return None
    table = lru_cache(maxsize=None)(_read_part)
    chosen = find_split(split, parts, path)
    labels, images, _ = part = parts[chosen]
    training = parts[split_of_classes(parts, chosen)]
    return table_source(
        table(part), "KITTI", path, chosen, [images], as_corners, labels, training=lambda: table(training),
        split_sizes=split_sizes(parts, lambda each: len(each[2])),
        annotated=labels.is_dir())


def _parts(path: Path) -> Mapping[str, Part]:
    """The folders and the image names of each split."""
    pair = _pair(path) or _pair(path / "training")
    lists = {file.stem: file for file in sorted(entries(path / "ImageSets")) if file.suffix == ".txt"}
    if pair and lists:
        return {name: (*pair, tuple(read_image_set(file))) for name, file in lists.items()}
    if _pair(path):
        labels, images = _pair(path) or (path, path)
        return {ALL: (labels, images, tuple(image_names(images)))}
    found = {entry.name: pair for entry in subfolders(path) if (pair := _pair(entry))}
    if not found:
        return {}
    name = next(iter(found.values()))[1].name
    for entry in subfolders(path):         # images without labels
        if entry.name not in found and (entry / name).is_dir():
            found[entry.name] = (entry / next(iter(found.values()))[0].name, entry / name)
    return {split: (*pair, tuple(image_names(pair[1]))) for split, pair in found.items()}


def _pair(path: Path) -> tuple[Path, Path] | None:
    """The folders of labels and images in a folder."""
    for labels, images in _PAIRS:
        if (path / images).is_dir() and _are_labels(path / labels):
            return path / labels, path / images
    return None


def _are_labels(folder: Path) -> bool:
    """Whether the first text file with a line in a folder has KITTI's columns."""
    for name in file_names(folder):
        if name.endswith(".txt"):
            try:
                lines = read_lines(folder / name)
            except (TextError, OSError):
                continue
            if lines:
                words = lines[0].split()
                return len(words) in _COLUMNS and not words[0][:1].isdigit()
    return False


def _read_part(part: Part) -> BoxTable:
    labels, _, names = part
    table = BoxTable()
    for name in with_progress("KITTI files", names):
        row = table.add_image(name)
        file = labels / f"{name}.txt"
        try:
            lines = read_lines(file) if labels.is_dir() else []
            for number, line in enumerate(lines, 1):
                try:
                    _add(table, row, line.split())
                except ValueError as error:
                    raise DatasetError(f"{file}: object {number}: {error}") from None
        except FileNotFoundError:
            table.fail(row, f"{file}: there is no such file")
        except (DatasetError, TextError, OSError) as error:
            table.fail(row, str(error))
    return table


def _add(table: BoxTable, row: int, words: list[str]) -> None:
    if len(words) not in _COLUMNS:
        raise ValueError(f"expected {_COLUMNS[0]} columns, found {len(words)}")
    ignored = words[0].lower() == _DONT_CARE
    table.add(row, ANY_CLASS if ignored else words[0], [float(word) for word in words[4:8]], ignored)
