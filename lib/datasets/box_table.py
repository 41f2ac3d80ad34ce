"""The objects of a file that annotates many images, stored in a few arrays, and a Source that is built from them."""
from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from datasets.folders import telling_name
from datasets.listed_files import ListedFiles, named_by_files
from datasets.source import ANY_CLASS, FARTHEST, Annotation, AnnotationError, DatasetError, Source, SourceImage
from utils.ragged import Ragged

_CROWD = 2          # value of the `difficult` flag for crowds


class BoxTable:
    """Images in the order of the file, each with its objects.

    images    row of each image, by its path in the file
    classes   label of each class name
    faults    number of parts of the file that cannot be used, by (what, how it is handled)
    embedded  annotation files that embed an image, by row; used if there is no image file
    """

    def __init__(self) -> None:
        self.images: dict[str, int] = {}
        self.classes: dict[str, int] = {}
        self.faults: Counter[tuple[str, str]] = Counter()
        self.embedded: dict[int, str] = {}
        self._sizes: dict[int, tuple[int, int]] = {}
        self._errors: dict[int, str] = {}
        self._unknown: set[str] = set()
        self._image_of, self._labels, self._boxes, self._difficult = array("i"), array("i"), array("d"), array("b")

    def add_image(self, path: str, size: tuple[object, object] | None = None) -> int:
        """Row of the image with this path, added if it is new. Sizes other than two positive numbers are unknown."""
        row = self.images.setdefault(path if "://" in path else os.path.normpath(path), len(self.images))
        width, height = (_positive(side) for side in size or (None, None))
        if width and height:
            self._sizes[row] = (width, height)
        return row

    def add(self, row: int, name: str, box: Sequence[float], difficult: bool = False,
            crowd: bool = False) -> None:
        """Add an object: its class, and the four numbers of its box. Raises ValueError unless these are finite."""
        if not all(-FARTHEST <= value <= FARTHEST for value in box):
            raise ValueError(f"the box of object {name!r} is {list(box)}, not finite numbers")
        self._image_of.append(row)
        self._labels.append(self.classes.setdefault(name, len(self.classes)))
        self._boxes.extend(box)
        self._difficult.append(_CROWD if crowd else difficult)

    def fail(self, row: int, error: str) -> None:
        """Leave the image out, for this reason."""
        self._errors.setdefault(row, error)

    def is_no_class(self, name: str) -> None:
        """Mark a name as not being a class: its objects are reported as of an unknown class."""
        self._unknown.add(name)

    def class_counts(self) -> Counter[str]:
        """Number of objects of each class. Raises DatasetError if there are errors, but no object."""
        if self._errors and not self._labels:
            raise DatasetError(f"no annotation can be used, such as {next(iter(self._errors.values()))}")
        counts = np.bincount(np.frombuffer(self._labels, np.int32), minlength=len(self.classes)).tolist()
        return Counter({name: counts[label] for name, label in self.classes.items()
                        if name != ANY_CLASS and name not in self._unknown})

    @property
    def has_zero(self) -> bool:
        """Whether an x1 or y1 is 0."""
        return bool(np.any(self._corners[:, :2] == 0))

    @property
    def farthest(self) -> float | None:
        """The largest number in any box; None without boxes."""
        return float(self._corners.max()) if len(self._boxes) else None

    @property
    def _corners(self) -> np.ndarray:
        return np.frombuffer(self._boxes, np.float64).reshape(-1, 4)

    @cached_property
    def _rows_of(self) -> Ragged:
        images = np.frombuffer(self._image_of, np.int32)
        return Ragged(np.argsort(images, kind="stable"), np.bincount(images, minlength=len(self.images)))

    @cached_property
    def _names(self) -> list[str]:
        return list(self.classes)

    def annotation(self, row: int, corners: Callable[[np.ndarray], np.ndarray]) -> Annotation:
        """The objects of an image; `corners` converts the file's numbers (N, 4) to boxes. Raises AnnotationError."""
        if row in self._errors:
            raise AnnotationError(self._errors[row])
        rows = self._rows_of[row]
        names = [self._names[self._labels[index]] for index in rows.tolist()]
        difficult = np.frombuffer(self._difficult, np.int8)[rows]
        return Annotation.of(names, corners(self._corners[rows]), difficult > 0, self._sizes.get(row),
                             difficult == _CROWD)


def _positive(side: object) -> int:
    try:
        number = float(side)  # type: ignore[arg-type]  # anything else raises TypeError
        return int(number) if 0 < number < FARTHEST else 0
    except (TypeError, ValueError, OverflowError):
        return 0


def is_true(flag: object) -> bool:
    """Whether an object is marked by a flag, which may be a text, such as '0' or 'true'."""
    return flag.strip().lower() in ("true", "1", "yes") if isinstance(flag, str) else bool(flag)


def as_corners(boxes: np.ndarray) -> np.ndarray:
    """The boxes unchanged, for files with inclusive corners."""
    return boxes


def table_source(table: BoxTable, format_name: str, root: Path, split: str, folders: Sequence[Path],
                 corners: Callable[[np.ndarray], np.ndarray], file: Path,
                 training: Callable[[], BoxTable], split_sizes: Callable[[], Mapping[str, int]] = dict,
                 is_zero_based: Callable[[], bool] = lambda: True, limits: Path | None = None,
                 annotated: bool = True) -> Source:
    """The Source of a table.

    root      folder that the data set is named after
    folders   folders to search for the images
    corners   see `BoxTable.annotation`
    file      the file that was read, for messages
    training  returns the table of the split that determines the class names
    limits    folder that relative paths must not leave; default: root
    """
    finder = ListedFiles(folders, limits or root)
    found = [finder.find(path) for path in table.images]
    images = named_by_files(SourceImage(image.name, image.file or table.embedded.get(row), image.problem)
                            for row, image in enumerate(found))
    embedded = sum(not image.file and row in table.embedded for row, image in enumerate(found))
    if embedded:
        table.faults["{} images have no file but are embedded in their annotations", "read from there"] = embedded
    rows = {image.name: row for row, image in reversed([*enumerate(images)])}     # the first, if listed twice

    def read(name: str, size: tuple[int, int]) -> Annotation:
        return table.annotation(rows[name], corners)

    return Source(f"{telling_name(root)}_{split}", split, images, read,
                  training_names=lambda: training().class_counts(), is_zero_based=is_zero_based, annotated=annotated,
                  format=format_name, split_sizes=split_sizes, noun=f"{format_name} file", images_in=folders[0],
                  annotations_in=file, training_in=file,
                  faults=[(what.format(count), action) for (what, action), count in table.faults.items()])
