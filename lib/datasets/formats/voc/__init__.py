"""PASCAL VOC's XML, with one annotation file per image. Four layouts are supported:

  VOC        Annotations/*.xml, JPEGImages/*, ImageSets/Main/<split>.txt; also with other names, such as annots, images
  pairs      one folder of images and one of XML files per split: train/images and train/annotations, or images/train
             and annotations/train
  flat       images and XML files side by side in one folder, or in one folder per split (train, test, ...), perhaps
             inside another folder (images/train, images/test)
  YAML file  keys: root (default: the file's folder), images, annotations (folders), image_sets (split: file of
             names), classes (list), zero_based, use_difficult (true or false); all are optional
"""
from __future__ import annotations

import contextlib
import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from datasets.folders import (
    TRAINING_SPLITS,
    FileNames,
    check_list,
    entries,
    file_names,
    find_images,
    image_names,
    is_inside,
    read_image_set,
    subfolders,
    telling_name,
    training_split,
)
from datasets.formats.voc.annotation import has_zero, read_annotation
from datasets.formats.voc.description import read_description
from datasets.source import Annotation, AnnotationError, DatasetError, Source, SourceImage
from datasets.splits import ALL, find_split, is_split_name, split_of_classes
from utils.image_header import IMAGE_SUFFIXES
from utils.text import TextError, printable, read_lines
from utils.timer import with_progress

_IMAGES = ("JPEGImages", "images", "image", "imgs", "img")
_ANNOTATIONS = ("Annotations", "annots", "annotation", "labels", "xmls", "xml")


def read(path: Path, split: str | None) -> Source | None:
    """A split of a folder or YAML file (without `split`: 'trainval', else 'train', else all images), or that of a list.

    None for other paths and for folders without XML files. Raises DatasetError that says what was expected and what was
    found.
    """
    if path.is_dir():
        return read_folder(path, split) if _is_voc(path) else None
    if path.is_file() and path.suffix.lower() in (".yml", ".yaml"):
        return _described(path, split)
    root = next((parent.parent for parent in list(path.parents)[:2] if parent.name == "ImageSets"), None)
    if path.is_file() and path.suffix == ".txt" and root and _is_voc(root):
        return read_folder(root, split or path.stem)
    return None


def read_folder(path: Path, split: str | None) -> Source:
    """A split of a folder in one of the layouts other than the YAML file."""
    annotations = _annotations_of(path)
    if annotations.is_dir():
        return _side_by_side(path, split, _folder(path, _IMAGES), annotations)
    pairs = _pairs(path)
    if pairs:
        return _paired(path, split, pairs)
    inner = [] if _stems(path) else [entry for entry in subfolders(path) if _annotations_of(entry).is_dir()]
    if len(inner) > 1:
        raise DatasetError(f"{path}: holds several data sets; name one of {', '.join(map(str, inner))}")
    return read_folder(inner[0], split) if inner else _flat(path, split)


def _is_voc(path: Path) -> bool:
    """Whether a folder has a layout of `read_folder`."""
    if _is_standard(path) or _annotations_of(path).is_dir() and _stems_below(_annotations_of(path)) or _pairs(path):
        return True
    return bool(_stems(path) or _flat_splits(_folder_of_splits(path))
                or any(_annotations_of(entry).is_dir() and (_is_standard(entry) or _stems_below(_annotations_of(entry)))
                       for entry in subfolders(path)))


def _is_standard(path: Path) -> bool:
    """Whether VOC's own folders exist; there may be no annotations, as for images to test on."""
    return (path / "Annotations").is_dir() and ((path / "JPEGImages").is_dir() or (path / "ImageSets").is_dir())


def _annotations_of(path: Path) -> Path:
    """The folder of XML files in VOC's layout; under other names it must hold some and lie beside one of images."""
    standard = _folder(path, ["Annotations"])
    if standard.is_dir() and (_stems_below(standard) or _is_standard(path)):
        return _innermost(standard)
    names = _ANNOTATIONS[1:] if _folder(path, _IMAGES).is_dir() else ()
    others = [folder for folder in (_folder(path, [name]) for name in names) if _stems_below(folder)]
    return _innermost(others[0]) if others else path / "Annotations"


def _innermost(folder: Path) -> Path:
    """The folder, or its subfolder if that alone holds the XML files: annotations/xmls."""
    inner = subfolders(folder)
    return inner[0] if len(inner) == 1 and inner[0].name.lower() in _ANNOTATIONS[1:] and not _stems(folder) else folder


def _folder(path: Path, names: Sequence[str]) -> Path:
    """The first of these folders that exists, in any case of letters; the first name if none does."""
    there = {entry.name.lower(): entry for entry in reversed(subfolders(path))}
    found = [path / name if (path / name).is_dir() else there[name.lower()] for name in names if name.lower() in there]
    return found[0] if found else path / names[0]


# ---- layouts
def _side_by_side(path: Path, split: str | None, images: Path, annotations: Path) -> Source:
    """A split of one folder of images and one of XML files; splits are lists of names, or subfolders of both."""
    folder = path / "ImageSets"
    sets = {file.stem: file for file in sorted(entries(folder / "Main" if (folder / "Main").is_dir() else folder))
            if file.suffix == ".txt"}
    inner = {entry.name: (images / entry.name, entry) for entry in subfolders(annotations)
             if _stems_below(entry) and (images / entry.name).is_dir()}
    if not sets and not _stems(annotations) and any(name in inner for name in TRAINING_SPLITS):
        return _paired(path, split, inner)
    return _listed(path, images, annotations, sets, split)


def _pairs(path: Path) -> dict[str, tuple[Path, Path]]:
    """Folders of images and of XML files by split, if the splits are folders: train/images, train/annotations."""
    folders = {entry.name: (_folder(entry, _IMAGES), _annotations_of(entry)) for entry in subfolders(path)
               if entry.name not in ("Annotations", "JPEGImages") and not _is_standard(entry)}
    found = {name: pair for name, pair in folders.items() if all(map(Path.is_dir, pair))}
    return found if any(name in found for name in TRAINING_SPLITS) else {}


def _paired(path: Path, split: str | None, pairs: dict[str, tuple[Path, Path]]) -> Source:
    """A split of a layout with two folders per split."""
    chosen = find_split(split, pairs, path)
    images, annotations = pairs[chosen]
    training = pairs[split_of_classes(pairs, chosen)][1]
    return _source(path, chosen, images, annotations, _stems_below(annotations), training, _stems_below(training),
                   [inner for _, folder in pairs.values() for inner in _folders_below(folder)],
                   lambda: {name: len(_stems_below(folder)) for name, (_, folder) in pairs.items()})


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
            there = ", ".join(entry.name for entry in subfolders(root)) or "none"
            raise DatasetError(f"{root}: there is no folder {os.path.relpath(folder, root)}; its folders are: {there}. "
                               "A YAML file can name others, see docs/own_dataset.md")
    chosen, known = _choose(split, sets, root) or (ALL if ALL in sets else None), FileNames([images, annotations])
    index = _read_list(sets[chosen], known) if chosen else _stems(annotations) or _stems_below(annotations)
    if not index:
        raise DatasetError(f"{annotations}: holds no XML files")
    training = training_split(sets) or chosen
    names = _read_list(sets[training], known) if training and training != chosen else index
    nested = any(map(os.path.dirname, [*index, *names]))
    return _source(root, chosen, images, annotations, index, annotations, names,
                   _folders_below(annotations) if nested else [annotations],
                   lambda: _list_lengths(sets))


def _choose(split: str | None, splits: Mapping[str, Path], where: Path) -> str | None:
    """The split of this name or a synonym; for None the one to train on, if any. Raises DatasetError."""
    return training_split(splits) if split is None else find_split(split, splits, where)


def _list_lengths(sets: Mapping[str, Path]) -> dict[str, int]:
    """Number of images in each split, without VOC's lists for one class, such as cat_train, and unreadable lists."""
    found = {}
    for name, file in sets.items():
        if not name.endswith(("_train", "_val", "_trainval", "_test")):
            with contextlib.suppress(TextError, OSError):
                found[name] = len(read_lines(file))
    return found


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
        chosen = _choose(split, splits, path)
        if chosen is None and splits and not any(is_split_name(name) for name in splits):       # folders by topic
            names = _stems_below(path)
            return _source(path, None, path, path, names, path, names, _folders_below(path), dict)
        if chosen is None:
            there = ", ".join(entry.name for entry in subfolders(path)) or "none"
            raise DatasetError(f"{path}: expected folders Annotations and JPEGImages, or XML files next to the "
                               f"images; folders found: {there}; splits found: {', '.join(sorted(splits)) or 'none'}")
        split, folder = chosen, splits[chosen]
    training = splits.get(training_split(splits) or "", folder)
    index = sorted({*image_names(folder), *_stems(folder)})
    return _source(path, split, folder, folder, index, training, _stems(training),
                   list(dict.fromkeys([*splits.values(), folder])),
                   lambda: {name: len(image_names(each)) for name, each in splits.items()})


def _flat_splits(path: Path) -> dict[str, Path]:
    return {folder.name: folder for folder in subfolders(path) if _stems(folder)}


def _folder_of_splits(path: Path) -> Path:
    """The folder itself or, if it holds no XML files, its only subfolder that contains folders with XML files.

    Raises DatasetError naming them if there are several.
    """
    if _stems(path) or _flat_splits(path):
        return path
    inner = [folder for folder in subfolders(path) if _flat_splits(folder)]
    if len(inner) > 1:
        raise DatasetError(f"{path}: holds several data sets; name one of {', '.join(map(str, inner))}")
    return inner[0] if inner else path


# ---- reading the files
def _source(root: Path, split: str | None, images: Path, annotations: Path, index: Sequence[str],
            training: Path, training_names: Sequence[str], folders: Sequence[Path],
            split_sizes: Callable[[], Mapping[str, int]]) -> Source:
    """The Source of the images `index`; `training` has the XML files of the training split, `folders` those of all."""
    def read_one(name: str, size: tuple[int, int]) -> Annotation:
        return read_annotation(_annotation_file(annotations, name))

    split, found = split or ALL, find_images(images, index)
    if not any(image.file for image in found):
        found = _found_below(images, index) or found
    where = os.path.dirname(_annotation_file(training, training_names[0])) if training_names else "the data set"
    return Source(f"{telling_name(root)}_{split}", split, found, read_one,
                  training_names=partial(_count_names, training, training_names),
                  is_zero_based=partial(_any_zero, folders),
                  annotated=any(os.path.isfile(_annotation_file(annotations, name)) for name in index),
                  format="PASCAL VOC", split_sizes=split_sizes, noun="XML file", images_in=images,
                  annotations_in=annotations, training_in=where)


def _found_below(images: Path, index: Sequence[str]) -> list[SourceImage]:
    """Images with these names anywhere below a folder, for annotations without subfolders; [] if there are none."""
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(images) for name in names]
    by_name = {os.path.splitext(os.path.basename(path))[0]: path for path in sorted(paths)
               if path.lower().endswith(IMAGE_SUFFIXES)}
    found = [SourceImage(name, by_name.get(os.path.basename(name))) for name in index]
    return found if any(image.file for image in found) else []


def _count_names(folder: Path, names: Sequence[str]) -> Counter[str]:
    """Number of objects of each class in these XML files; broken and missing files are skipped.

    Raises DatasetError if there are such files and no objects.
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
    """The XML file of an image, whose extension may be in upper case."""
    path, capital = os.path.join(folder, f"{name}.xml"), os.path.join(folder, f"{name}.XML")
    return capital if not os.path.exists(path) and os.path.exists(capital) else path


def _stems(folder: Path) -> list[str]:
    """Names of the XML files in a folder, without extension."""
    return [stem for stem, suffix in map(os.path.splitext, file_names(folder)) if suffix.lower() == ".xml"]


def _stems_below(folder: Path) -> list[str]:
    """Names of the XML files below a folder, with their inner folders."""
    return [os.path.normpath(os.path.join(inner.relative_to(folder), stem))
            for inner in _folders_below(folder) for stem in _stems(inner)]


def _folders_below(folder: Path) -> list[Path]:
    """The folder and all folders below it."""
    return sorted(Path(path) for path, _, _ in os.walk(folder))
