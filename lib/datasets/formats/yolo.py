"""YOLO's text files, one per image: lines `class x y width height`, centre and size as fractions of the image's size.

  Ultralytics  data.yaml with names, train, val, test: folders, lists of files, or several of these; path is their root
  darknet      obj.data with names, train, valid
  folders      images/ and labels/ (optionally with a folder per split in both), or <split>/images and <split>/labels,
               or images and text files side by side; class names, one per line, in classes.txt, obj.names or similar

A label file lies beside its image, or below `labels` instead of `images`. Images whose label file is empty or missing
have no objects. Of polygons (class x1 y1 x2 y2 x3 y3 ...) the bounds are read, of key points only the box.
"""
from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from datasets.ds_utils import edges_to_corners
from datasets.folders import file_names, subfolders, telling_name
from datasets.listed_files import ListedFiles, named_by_files
from datasets.source import Annotation, AnnotationError, DatasetError, Source, SourceImage
from datasets.splits import ALL, find_split, is_split_name, split_of_classes, split_sizes
from utils.errors import message_of
from utils.image_header import IMAGE_SUFFIXES
from utils.safe_yaml import TextLoader, load_yaml
from utils.text import TextError, read_lines, read_text
from utils.timer import with_progress

_IMAGES, _LABELS = "images", "labels"
_NAMES = ("classes.txt", "obj.names", "names.txt", "class_names.txt", "labels.txt", "predefined_classes.txt")
_NO_LABELS = {*_NAMES, "readme.txt", "requirements.txt", "license.txt", "notes.txt", "train.txt", "val.txt", "test.txt",
              "valid.txt", "trainval.txt"}
_YAML_SPLITS = ("train", "val", "valid", "test")
_LOW, _HIGH = -0.01, 1.01       # range of coordinates, as Ultralytics' training accepts them


@dataclass(frozen=True)
class _Found:
    """A data set, with functions that list the images of each split on demand."""
    root: Path
    splits: Mapping[str, Callable[[], list[SourceImage]]]
    names: Mapping[int, str] | None     # None: there is no file of names
    key_points: bool = False    # lines have key points after the box


def read(path: Path, split: str | None) -> Source | None:
    """A split of a YAML file, data file or folder; without `split` the one to train on, or the only one.

    None for other paths. Raises DatasetError, also for a data set without class names.
    """
    found, part = _find(path), _part_of_split(path) if split is None and path.is_dir() else None
    if part:
        found, split = part
    if found is None:
        return None
    if found.names is None:
        raise DatasetError(_why_no_names(found.root))
    chosen = find_split(split, found.splits, path)
    images = {image.name: image for image in found.splits[chosen]()}
    training = split_of_classes(found.splits, chosen)
    return Source(
        f"{telling_name(found.root)}_{chosen}", chosen, list(images.values()),
        lambda name, size: _annotation(images[name], size, found), format="YOLO", noun="label file",
        training_names=lambda: _count_classes(found.splits[training](), found), images_in=found.root,
        split_sizes=split_sizes(found.splits, lambda list_images: len(list_images())),
        annotated=any(os.path.isfile(_label_file(image.file)) for image in images.values() if image.file),
        annotations_in=found.root, training_in=f"{found.root}, split {training}")


def read_file(path: Path, split: str | None) -> Source | None:
    """`read` for files; None for a folder."""
    return read(path, split) if path.is_file() else None


def _part_of_split(path: Path) -> tuple[_Found, str] | None:
    """The data set and split to which a folder such as .../test/images or .../images/test belongs."""
    for folder in list(path.parents)[:2]:
        names = [name for name in path.relative_to(folder).parts if is_split_name(name)]
        outer = _find(folder) if names else None
        if outer and names[0] in outer.splits:
            return outer, names[0]
    return None


def _find(path: Path) -> _Found | None:
    if path.is_file():
        if path.suffix.lower() in (".yml", ".yaml"):
            return _of_yaml(path)
        return _of_darknet(path) if path.suffix.lower() == ".data" else None
    for name in file_names(path):
        if name.lower().endswith((".yml", ".yaml", ".data")) and (path / name).is_file():
            found = _find(path / name)
            if found:
                return found
    return _of_folder(path)


# ---- layouts
def _of_yaml(path: Path) -> _Found | None:
    """The data set of a YAML file with Ultralytics' keys; None for any other file."""
    try:
        text = read_text(path)
        content, written = load_yaml(text), load_yaml(text, TextLoader)
    except (yaml.YAMLError, TextError, OSError):
        return None         # VOC's reader reports what is wrong
    if not isinstance(content, dict) or "names" not in content and not {"train", "nc"} <= set(content):
        return None
    root = _yaml_root(path, content.get("path"))
    splits = {key: _strings(path, key, content[key]) for key in content if key in _YAML_SPLITS and content[key]}
    if not splits:
        raise DatasetError(f"{path}: expected folders or lists of images under train, val and test; found none")
    names = _names_in(path, written.get("names"))
    if written.get("nc", str(len(names))) != str(len(names)):
        raise DatasetError(f"{path}: nc is {written['nc']}, but names has {len(names)}: "
                           f"{', '.join(names.values())[:60]}")
    return _Found(root, {name: partial(_images_of, places, root, path) for name, places in splits.items()}, names,
                  bool(content.get("kpt_shape")))


def _yaml_root(path: Path, given: object) -> Path:
    """The folder to which paths in a YAML file are relative: its `path` if that exists, or else the file's folder."""
    choices = [path.parent / str(given), path.parent.parent / "datasets" / str(given)] if given else []
    return next((choice for choice in choices if choice.is_dir()), path.parent)


def _strings(path: Path, key: str, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str) for each in values):
        raise DatasetError(f"{path}: {key}: expected a path or a list of them, found {value!r}")
    return values


def _names_in(path: Path, names: object) -> dict[int, str]:
    """Class names by number, from a list or a mapping."""
    pairs = names.items() if isinstance(names, dict) else enumerate(names if isinstance(names, list) else [])
    try:
        found = {int(number): " ".join(str(name).split()) for number, name in pairs}
    except (TypeError, ValueError):
        found = {}
    if not found or not all(found.values()):
        raise DatasetError(f"{path}: names: expected the class names as a list or by number, as {{0: cat, 1: dog}}; "
                           f"found {str(names)[:60]}")
    return found


def _of_darknet(path: Path) -> _Found | None:
    try:
        pairs = [line.partition("=")[::2] for line in read_lines(path)]
    except (TextError, OSError):
        return None
    content = {key.strip(): value.strip() for key, value in pairs}
    splits = [key for key in ("train", "valid", "val", "test") if content.get(key)]
    if not splits or not content.get("names"):
        return None
    root, lists = path.parent, {}
    for key in splits:
        lists[key] = _existing(root, content[key], path)
    names = dict(enumerate(read_lines(_existing(root, content["names"], path))))
    return _Found(root, {key: partial(_images_of, [str(file)], root, path) for key, file in lists.items()}, names)


def _existing(root: Path, listed: str, where: Path) -> Path:
    """A file or folder that is listed relative to `root` or, as darknet does, to a folder above it."""
    parts = Path(listed.replace("\\", "/")).parts
    for first in range(len(parts)):
        file = root.joinpath(*parts[first:])
        if file.is_dir() or file.is_file():     # neither a device nor a pipe
            return file
    raise DatasetError(f"{where}: {listed}: there is no such file or folder in {root}")


def _of_folder(path: Path) -> _Found | None:
    """The data set of a folder without a YAML or data file; None if there are no label files."""
    splits = {name: partial(_images_of, [str(folder)], path, path) for name, folder in _folders(path).items()}
    return _Found(path, splits, _names_beside(path)) if splits else None


def _folders(path: Path) -> dict[str, Path]:
    """The folders of images, by split."""
    if _are_labels(path / _LABELS) and (path / _IMAGES).is_dir():
        return {ALL: path / _IMAGES}
    inner = {entry.name: path / _IMAGES / entry.name for entry in subfolders(path / _LABELS)
             if _are_labels(entry) and (path / _IMAGES / entry.name).is_dir()}
    if inner:
        return inner
    pairs = {entry.name: entry / _IMAGES for entry in subfolders(path)
             if _are_labels(entry / _LABELS) and (entry / _IMAGES).is_dir()}
    if pairs:
        return pairs
    if _are_labels(path):
        return {ALL: path}
    return {entry.name: entry for entry in subfolders(path)
            if entry.name not in (_IMAGES, _LABELS) and _are_labels(entry)}


def _are_labels(folder: Path) -> bool:
    """Whether the first non-empty text file in a folder is a label file of YOLO."""
    for name in file_names(folder):
        if name.lower().endswith(".txt") and name.lower() not in _NO_LABELS:
            try:
                lines = read_lines(folder / name)
            except (TextError, OSError):
                continue
            if lines:
                return re.fullmatch(r"\d+(\s+[-+.\deE]+){4,}", lines[0]) is not None
    return False


def _why_no_names(root: Path) -> str:
    """Why the class names of a folder of label files are not known."""
    for name in file_names(root):
        if name.lower().endswith((".yml", ".yaml")):
            try:
                load_yaml(read_text(root / name))
            except yaml.YAMLError as error:
                return f"{root / name}: not readable as YAML: {error}"
            except (TextError, OSError) as error:
                return message_of(error)
    return (f"{root}: YOLO's label files have numbers for classes, and there is no file with their names: put "
            f"{_NAMES[0]} there, one name a line, or a data.yaml with names: [cat, dog]")


def _names_beside(path: Path) -> dict[int, str] | None:
    """The class names in a file in the folder or one of its subfolders."""
    inner = subfolders(path)
    for folder in (path, path / _LABELS, *inner, *subfolders(path / _LABELS), *(each / _LABELS for each in inner)):
        there = file_names(folder)
        for name in [*_NAMES, *(name for name in there if name.endswith(".names"))]:
            if name in there:
                lines = read_lines(folder / name)
                if lines and not all(re.fullmatch(r"[\d\s.eE+-]+", line) for line in lines):
                    return dict(enumerate(lines))
    return None


def _images_of(places: Sequence[str], root: Path, where: Path) -> list[SourceImage]:
    """The images in folders, and those named in lists."""
    images: list[SourceImage] = []
    for place in places:
        found = _existing(root, place, where)
        if found.is_dir():
            if root.resolve().parent.is_relative_to(found.resolve()):
                raise DatasetError(f"{where}: {place}: is a folder above the data set's; name the folder of its images")
            images += [SourceImage(file, file) for file in _image_files_below(found)]
        else:
            finder = ListedFiles([found.parent, root], root.parent)
            images += map(finder.find, read_lines(found))
    return named_by_files(images)


def _image_files_below(folder: Path) -> Iterator[str]:
    for inner, folders, names in os.walk(folder):
        folders.sort()
        yield from (os.path.join(inner, name) for name in sorted(names)
                    if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."))


# ---- label files
def label_path(image: str) -> str:
    """Where YOLO's training looks for the label file of an image: below `labels` if the image is below `images`."""
    beside = os.path.splitext(image)[0] + ".txt"
    head, separator, tail = beside.rpartition(f"{os.sep}{_IMAGES}{os.sep}")     # the last such folder counts
    return f"{head}{os.sep}{_LABELS}{os.sep}{tail}" if separator else beside


def _label_file(image: str) -> str:
    """The label file of an image: that of `label_path`, or else one beside it."""
    beside, mirrored = os.path.splitext(image)[0] + ".txt", label_path(image)
    return beside if not os.path.isfile(mirrored) and os.path.isfile(beside) else mirrored


def _read_labels(image: str, key_points: bool) -> tuple[list[int], np.ndarray]:
    """Class numbers, and edges x1, y1, x2, y2 (N, 4) as fractions of the image's width and height.

    Raises AnnotationError with file and line.
    """
    file, classes, boxes = _label_file(image), [], []
    try:
        lines = read_lines(file)
    except FileNotFoundError:
        lines = []
    except (TextError, OSError) as error:
        raise AnnotationError(message_of(error)) from None
    for number, line in enumerate(lines, 1):
        try:
            words = line.split()
            classes.append(_class_number(words[0]))
            boxes.append(_edges([float(word) for word in words[1:]], key_points))
        except ValueError as error:
            raise AnnotationError(f"{file}: object {number}: {error}") from None
    return classes, np.array(boxes, np.float64).reshape(-1, 4)


def _class_number(word: str) -> int:
    number = float(word)        # some programs write 3.0
    if not number.is_integer() or number < 0:
        raise ValueError(f"expected the number of a class, found {word!r}")
    return int(number)


def _edges(values: list[float], key_points: bool) -> list[float]:
    if key_points and len(values) > 4:
        values = values[:4]
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise ValueError(f"expected x, y, width, height, or the points of a polygon; found {len(values)} numbers")
    if not all(_LOW <= value <= _HIGH for value in values):
        wrong = next(value for value in values if not _LOW <= value <= _HIGH)
        raise ValueError(f"{wrong:g} is not a fraction of the image's size: coordinates must lie between 0 and 1")
    if len(values) > 4:
        return [min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])]
    x, y, width, height = values
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def _annotation(image: SourceImage, size: tuple[int, int], found: _Found) -> Annotation:
    classes, edges = _read_labels(str(image.file), found.key_points)
    # Six digits of text are accurate to about a thousandth of a pixel
    pixels = np.round(edges * [*size, *size], 3)
    names = [(found.names or {}).get(number, f"class {number}") for number in classes]
    return Annotation.of(names, edges_to_corners(pixels))


def _count_classes(images: Sequence[SourceImage], found: _Found) -> Counter[str]:
    """Number of objects of each class that has a name; files that cannot be used are skipped.

    Raises DatasetError if no file can be used, or no class has a name.
    """
    counts: Counter[int] = Counter()
    error: AnnotationError | None = None
    for image in with_progress("class names", images):
        try:
            counts.update(_read_labels(image.file, found.key_points)[0] if image.file else [])
        except AnnotationError as wrong:
            error = error or wrong
    if error and not counts:
        raise DatasetError(f"no label file can be used, such as {error}")
    named = Counter({name: counts[number] for number, name in (found.names or {}).items() if counts[number]})
    if counts and not named:
        raise DatasetError(f"{found.root}: the label files have the classes {', '.join(map(str, sorted(counts)))}, the "
                           f"names those of {', '.join(map(str, sorted(found.names or ())))}")
    return named
