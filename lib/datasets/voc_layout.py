"""Finds the images and annotation files of a data set on disk.

Three layouts are known:
  VOC        Annotations/*.xml, JPEGImages/*, ImageSets/Main/<split>.txt
  flat       images and XML files side by side in one folder, or in one folder per split (train, test, ...), which
             may lie in a folder of their own (images/train, images/test)
  YAML file  keys: root (default: the file's folder), images, annotations (folders), image_sets (split: file of
             names), classes (list), zero_based, use_difficult (true or false); all are optional
"""
from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets.voc_yaml import read_description
from utils.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
TRAINING_SPLITS = ("trainval", "train")     # where class names are looked up, best first
_NO_NAMES = {"images", "data", "dataset", "jpegimages"}     # of folders that say nothing of what is inside


class DatasetError(UserError, ValueError):
    """A data set is not where, or not what, it should be."""


@dataclass
class Layout:
    """Where one split of a data set is."""
    name: str
    split: str
    images: Path                # folder
    annotations: Path           # folder
    index: list[str]            # names of images, without ending
    training: list[str]         # annotation files of the training split (of this one if there is none)
    annotation_files: list[str]     # those of all splits
    options: dict[str, Any] = field(default_factory=dict)   # classes, zero_based, use_difficult, where they are set

    def image_files(self) -> dict[str, str]:
        """Image file by name."""
        return {os.path.splitext(file)[0]: os.path.join(self.images, file) for file in _image_names(self.images)}

    def annotation_file(self, name: str) -> str:
        return _annotation_file(self.annotations, name)


def find_layout(path: str | os.PathLike, split: str | None = None) -> Layout:
    """Layout of a folder or YAML file. Raises DatasetError that says what was looked for and what is there.

    Without `split`, 'trainval' is taken, else 'train', else all images.
    """
    path = Path(path)
    if path.is_file() and path.suffix in (".yml", ".yaml"):
        return _yaml_layout(path, split)
    if not path.is_dir():
        raise DatasetError(f"{path}: there is no such folder or YAML file")
    if (path / "Annotations").is_dir():
        sets = {file.stem: file for file in _listing(path / "ImageSets" / "Main") if file.suffix == ".txt"}
        return _listed(path, path / "JPEGImages", path / "Annotations", sets, split)
    return _flat_layout(path, split)


def _listed(root: Path, images: Path, annotations: Path, sets: dict[str, Path], split: str | None,
            options: dict[str, Any] | None = None) -> Layout:
    """A layout whose splits are files of image names."""
    chosen = _choose(split, sets, root)
    known = {os.path.splitext(file)[0] for folder in (images, annotations) for file in _names(folder)}
    index = read_image_set(sets[chosen], known) if chosen else _stems(annotations)
    training = next((name for name in TRAINING_SPLITS if name in sets), chosen)
    names = read_image_set(sets[training], known) if training else index
    return Layout(f"{_telling_name(root)}_{chosen or 'all'}", chosen or "all", images, annotations, index,
                  [_annotation_file(annotations, name) for name in names], _xml_files(annotations), options or {})


def _choose(split: str | None, splits: dict[str, Path], where: Path) -> str | None:
    if split is None:
        return next((name for name in TRAINING_SPLITS if name in splits), None)
    if split not in splits:
        raise DatasetError(f"{where}: no split {split!r}; there are: {', '.join(sorted(splits)) or 'none'}")
    return split


def _flat_layout(path: Path, split: str | None) -> Layout:
    if split is None and _xml_files(path) and any((path.parent / name).is_dir() for name in TRAINING_SPLITS):
        path, split = path.parent, path.name    # .../images/test: class names are those of .../images/train
    path = _folder_of_splits(path)
    splits = _flat_splits(path)
    if split is None and _xml_files(path):
        splits, folder = {}, path
    else:
        chosen = _choose(split, splits, path)
        if chosen is None:
            raise DatasetError(f"{path}: expected folders Annotations and JPEGImages, or XML files next to the "
                               f"images; splits found: {', '.join(sorted(splits)) or 'none'}")
        split, folder = chosen, splits[chosen]
    training = next((splits[name] for name in TRAINING_SPLITS if name in splits), folder)
    images = [os.path.splitext(file)[0] for file in _image_names(folder)]
    return Layout(f"{_telling_name(path)}_{split or 'all'}", split or "all", folder, folder,
                  sorted({*images, *_stems(folder)}), _xml_files(training),
                  [file for part in dict.fromkeys([*splits.values(), folder]) for file in _xml_files(part)])


def _flat_splits(path: Path) -> dict[str, Path]:
    return {folder.name: folder for folder in _listing(path) if folder.is_dir() and _xml_files(folder)}


def _folder_of_splits(path: Path) -> Path:
    """The folder itself, or where it holds no XML files the one folder in it that has folders with some.

    Raises DatasetError that names them where there are several.
    """
    if _xml_files(path) or _flat_splits(path):
        return path
    inner = sorted(folder for folder in _listing(path) if folder.is_dir() and _flat_splits(folder))
    if len(inner) > 1:
        raise DatasetError(f"{path}: holds several data sets; name one of {', '.join(map(str, inner))}")
    return inner[0] if inner else path


def _telling_name(folder: Path) -> str:
    """Name of a folder, with that of the folder around it where it is one like 'images'."""
    folder = folder.resolve()
    return folder.parent.name if folder.name.lower() in _NO_NAMES and folder.parent.name else folder.name


def _yaml_layout(path: Path, split: str | None) -> Layout:
    try:
        content = read_description(path)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error
    root = path.parent / content.get("root", ".")
    sets = {name: root / file for name, file in content.get("image_sets", {}).items()}
    known = ("classes", "zero_based", "use_difficult")
    options: dict[str, Any] = {key: content[key] for key in known if key in content}
    layout = _listed(root, root / content.get("images", "JPEGImages"),
                     root / content.get("annotations", "Annotations"), sets, split, options)
    layout.name = f"{path.stem}_{layout.split}"
    return layout


def read_image_set(path: Path, known: Collection[str] = ()) -> list[str]:
    """Names of images, one a line.

    A label 1, 0 or -1 behind the name, as in VOC's files of one class, is ignored, unless it is part of a `known`
    name such as 'photo 1'.
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


def _stems(folder: Path) -> list[str]:
    return [os.path.splitext(file)[0] for file in _xml_names(folder)]


def _xml_files(folder: Path) -> list[str]:
    return [os.path.join(folder, file) for file in _xml_names(folder)]


def _annotation_file(folder: Path, name: str) -> str:
    return os.path.join(folder, f"{name}.xml")


def _xml_names(folder: Path) -> list[str]:
    return [file for file in _names(folder) if os.path.splitext(file)[1] == ".xml"]


def _image_names(folder: Path) -> list[str]:
    return [file for file in _names(folder) if os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES]


def _names(folder: Path) -> list[str]:
    """Sorted names of what is in a folder, as text: a data set may have more files than there is room for Paths."""
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def _listing(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())
