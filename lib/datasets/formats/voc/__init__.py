"""PASCAL VOC's XML, with one annotation file per image. Three layouts are supported:

  VOC        Annotations/*.xml, JPEGImages/*, ImageSets/Main/<split>.txt
  flat       images and XML files side by side in one folder, or in one folder per split (train, test, ...), perhaps
             inside another folder (images/train, images/test)
  YAML file  keys: root (default: the file's folder), images, annotations (folders), image_sets (split: file of
             names), classes (list), zero_based, use_difficult (true or false); all are optional
"""
from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from datasets.folders import (
    TRAINING_SPLITS,
    FileNames,
    check_list,
    choose_split,
    entries,
    file_names,
    find_images,
    image_names,
    is_inside,
    read_image_set,
    telling_name,
    training_split,
)
from datasets.formats.voc.annotation import has_zero, read_annotation
from datasets.formats.voc.description import read_description
from datasets.source import Annotation, AnnotationError, DatasetError, Source
from utils.text import TextError, printable
from utils.timer import with_progress


def read(path: Path, split: str | None) -> Source | None:
    """A split of a folder or YAML file: without `split`, 'trainval', else 'train', else all images.

    None if it is neither; raises DatasetError that says what was expected and what was found.
    """
    if path.is_dir():
        return read_folder(path, split)
    if path.is_file() and path.suffix.lower() in (".yml", ".yaml"):
        return _described(path, split)
    return None


def read_folder(path: Path, split: str | None) -> Source:
    """A split of a folder in VOC's or the flat layout, see `read`."""
    annotations = _folder(path, "Annotations")
    if not annotations.is_dir():
        inner = [] if _stems(path) else sorted(entry for entry in entries(path) if (entry / "Annotations").is_dir())
        if len(inner) > 1:
            raise DatasetError(f"{path}: holds several data sets; name one of {', '.join(map(str, inner))}")
        return read_folder(inner[0], split) if inner else _flat(path, split)
    sets = {file.stem: file for file in entries(path / "ImageSets" / "Main") if file.suffix == ".txt"}
    return _listed(path, _folder(path, "JPEGImages"), annotations, sets, split)


def _folder(path: Path, name: str) -> Path:
    """The folder of this name, perhaps written in small letters."""
    small = path / name.lower()
    return small if small.is_dir() and not (path / name).is_dir() else path / name


# ---- layouts
def _described(path: Path, split: str | None) -> Source:
    """The split described by a YAML file."""
    try:
        content = read_description(path)
    except TextError as error:
        raise DatasetError(str(error)) from None
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error
    root = path.parent / content.root
    sets = {name: root / file for name, file in content.image_sets.items()}
    source = _listed(root, root / content.images, root / content.annotations, sets, split)
    zero_based = source.is_zero_based if content.zero_based is None else partial(bool, content.zero_based)
    return dataclasses.replace(source, name=f"{path.stem}_{source.split}", classes=content.classes,
                               is_zero_based=zero_based, use_difficult=content.use_difficult)


def _listed(root: Path, images: Path, annotations: Path, sets: dict[str, Path], split: str | None) -> Source:
    """A split of a layout whose splits are files of image names."""
    for folder in (images, annotations):
        if not folder.is_dir():
            there = ", ".join(sorted(entry.name for entry in entries(root) if entry.is_dir())) or "none"
            raise DatasetError(f"{root}: there is no folder {os.path.relpath(folder, root)}; its folders are: {there}. "
                               "A YAML file can name others, see docs/own_dataset.md")
    chosen, known = choose_split(split, sets, root), FileNames([images, annotations])
    index = _read_list(sets[chosen], known) if chosen else _stems(annotations) or _stems_below(annotations)
    if not index:
        raise DatasetError(f"{annotations}: holds no XML files")
    training = training_split(sets) or chosen
    names = _read_list(sets[training], known) if training and training != chosen else index
    nested = any(map(os.path.dirname, [*index, *names]))
    return _source(root, chosen, images, annotations, index, annotations, names,
                   _folders_below(annotations) if nested else [annotations])


def _read_list(path: Path, known: FileNames) -> list[str]:
    names = read_image_set(path, known, known.folders[0])
    check_list(path, names, known)
    outside = next((name for name in names if not is_inside(name)), None)
    if outside is not None:
        raise DatasetError(f"{path}: {printable(outside)!r} leads out of {known.folders[0]}")
    return names


def _flat(path: Path, split: str | None) -> Source:
    """A split of the flat layout, whose splits are folders."""
    if split is None and _stems(path) and any((path.parent / name).is_dir() for name in TRAINING_SPLITS):
        path, split = path.parent, path.name    # .../images/test: class names are those of .../images/train
    path = _folder_of_splits(path)
    splits = _flat_splits(path)
    if split is None and _stems(path):
        splits, folder = {}, path
    else:
        chosen = choose_split(split, splits, path)
        if chosen is None:
            there = ", ".join(sorted(entry.name for entry in entries(path) if entry.is_dir())) or "none"
            raise DatasetError(f"{path}: expected folders Annotations and JPEGImages, or XML files next to the "
                               f"images; folders found: {there}; splits found: {', '.join(sorted(splits)) or 'none'}")
        split, folder = chosen, splits[chosen]
    training = splits.get(training_split(splits) or "", folder)
    index = sorted({*image_names(folder), *_stems(folder)})
    return _source(path, split, folder, folder, index, training, _stems(training),
                   list(dict.fromkeys([*splits.values(), folder])))


def _flat_splits(path: Path) -> dict[str, Path]:
    return {folder.name: folder for folder in entries(path) if folder.is_dir() and _stems(folder)}


def _folder_of_splits(path: Path) -> Path:
    """The folder itself or, if it holds no XML files, its only subfolder that contains folders with XML files.

    Raises DatasetError naming them if there are several.
    """
    if _stems(path) or _flat_splits(path):
        return path
    inner = sorted(folder for folder in entries(path) if folder.is_dir() and _flat_splits(folder))
    if len(inner) > 1:
        raise DatasetError(f"{path}: holds several data sets; name one of {', '.join(map(str, inner))}")
    return inner[0] if inner else path


# ---- reading the files
def _source(root: Path, split: str | None, images: Path, annotations: Path, index: Sequence[str],
            training: Path, training_names: Sequence[str], folders: Sequence[Path]) -> Source:
    """The images `index` of a split; `training` has the XML files of its training split, `folders` those of all."""
    def read_one(name: str, size: tuple[int, int]) -> Annotation:
        return read_annotation(_annotation_file(annotations, name))

    split, found = split or "all", find_images(images, index)
    where = os.path.dirname(_annotation_file(training, training_names[0])) if training_names else "the data set"
    return Source(f"{telling_name(root)}_{split}", split, found, read_one,
                  training_names=partial(_count_names, training, training_names),
                  is_zero_based=partial(_any_zero, folders),
                  annotated=any(os.path.isfile(_annotation_file(annotations, name)) for name in index),
                  noun="XML file", images_in=images, annotations_in=annotations, training_in=where)


def _count_names(folder: Path, names: Sequence[str]) -> Counter[str]:
    """Number of objects of each class in these XML files; broken and missing files are skipped.

    Raises DatasetError if nothing is found in them, and there are such files.
    """
    counts: Counter[str] = Counter()
    errors = []
    for name in with_progress("class names", names):
        try:
            counts.update(read_annotation(_annotation_file(folder, name)).names)
        except AnnotationError as error:
            errors.append(str(error))
    if errors and not counts:
        raise DatasetError(f"no class names: {len(errors)} of {len(names)} XML files are missing or cannot be used, "
                           f"such as {errors[0]}")
    return counts


def _any_zero(folders: Sequence[Path]) -> bool:
    files = [_annotation_file(folder, name) for folder in folders for name in _stems(folder)]
    return any(has_zero(file) for file in with_progress("origin of coordinates", files))


def _annotation_file(folder: Path, name: str) -> str:
    """The XML file of an image, whose ending may be in capital letters."""
    path, capital = os.path.join(folder, f"{name}.xml"), os.path.join(folder, f"{name}.XML")
    return capital if not os.path.exists(path) and os.path.exists(capital) else path


def _stems(folder: Path) -> list[str]:
    """Names of the XML files in a folder, without extension."""
    return [stem for stem, suffix in map(os.path.splitext, file_names(folder)) if suffix.lower() == ".xml"]


def _stems_below(folder: Path) -> list[str]:
    """Names of the XML files below a folder, with their inner folders."""
    return [os.path.join(inner.relative_to(folder), stem) for inner in _folders_below(folder) for stem in _stems(inner)]


def _folders_below(folder: Path) -> list[Path]:
    """The folder and those inside."""
    return sorted(Path(path) for path, _, _ in os.walk(folder))
