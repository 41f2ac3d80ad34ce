"""What the reader of a format returns: the images of one split and their annotations, as found in the files."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from utils.errors import UserError

# Class of a region in which objects of all classes are not annotated, such as KITTI's DontCare; always difficult
ANY_CLASS = "__any__"
FARTHEST = 1e9      # largest coordinate of a box, in pixels


# What may be wrong if a custom data set has entries for other images
OF_A_CACHE = "; entries that were stored, such as those in data/cache, may be of another list of images: delete them"


class DatasetError(UserError, ValueError):
    """A data set is missing or invalid."""


class NothingToEvaluateError(DatasetError):
    """A data set has no annotations; its detections were written."""


class AnnotationError(UserError, ValueError):
    """An annotation file is missing or invalid; the message names the file."""


@dataclass
class Annotation:
    """The objects of one image, as found in the file."""
    names: list[str]            # class of each object, without surrounding spaces; may be ANY_CLASS
    boxes: np.ndarray           # (N, 4) float32 x1, y1, x2, y2: inclusive corners, see `Source.is_zero_based`
    difficult: np.ndarray       # (N,) bool: the object need not be found (difficult, crowd, ignored)
    size: tuple[int, int] | None    # width, height; None if the file does not contain it
    crowd: np.ndarray | None = None     # (N,) bool: a difficult object is a region of many objects; None: none is

    @classmethod
    def of(cls, names: Sequence[str], boxes: ArrayLike, difficult: ArrayLike | None = None,
           size: tuple[int, int] | None = None, crowd: ArrayLike | None = None) -> Annotation:
        """An annotation from lists, possibly empty; without `difficult` no object is difficult.

        Raises AnnotationError if their lengths differ.
        """
        hard = np.zeros(len(names), bool) if difficult is None else np.array(difficult, bool)
        corners = np.array(boxes, np.float32).reshape(-1, 4)
        if not len(names) == len(corners) == len(hard):
            raise AnnotationError(f"{len(names)} class names, {len(corners)} boxes, {len(hard)} flags 'difficult'")
        return cls(list(names), corners, hard, size, None if crowd is None else np.array(crowd, bool))


class Share(NamedTuple):
    """How a data set without splits is divided, written as '@0.8' or '@0.8@7' at the end of its name."""
    train: float                # share of the images that are 'train'
    seed: int | None = None     # seed of the random order

    def __str__(self) -> str:
        return f"@{self.train:g}" + ("" if self.seed is None else f"@{self.seed}")

    @property
    def options(self) -> str:
        """The equivalent options of the tools."""
        return f"--split {self.train:g}" + ("" if self.seed is None else f" --split_seed {self.seed}")


class SourceImage(NamedTuple):
    """An image listed in a split."""
    name: str           # without folder and extension
    file: str | None    # None: there is no image file of this name, or several
    problem: str = "no image file of this name"     # why there is no file


@dataclass(frozen=True)
class Source:
    """One split of a data set. Annotations are read one at a time and not kept.

    name            name of data set and split, such as 'BCCD_train'; used for output folders
    split           'train', 'test', ...; 'all' if there are no splits
    images          in order; duplicates are used once
    read            read(name, size) returns the annotation of the image with this name and (width, height); if it
                    raises AnnotationError, the image is left out
    classes         class names; None: those of `training_names`
    training_names  number of objects of each class in the training split, whichever split this is
    is_zero_based   whether coordinates count from 0, not from 1, in the whole data set
    annotated       whether any image has an annotation; otherwise the split can be tested on, but not evaluated
    use_difficult   train on objects marked as difficult; None: not specified
    format          name of the format, such as 'COCO', for the summary
    split_sizes     number of images in each split, if there are splits
    faults          what cannot be used in the split's files as a whole: (what, how it is handled)
    share           how the images were divided, if the splits were made by `splits.part_of`
    location        the path, set by `formats.find_source`: several data sets may have the same name

    For messages: `noun` is what holds the annotation of an image, such as 'XML file'; `images_in`, `annotations_in` and
    `training_in` are where images, annotations and class names were searched.
    """
    name: str
    split: str
    images: Sequence[SourceImage]
    read: Callable[[str, tuple[int, int]], Annotation]
    classes: Sequence[str] | None = None
    training_names: Callable[[], Mapping[str, int]] = dict
    is_zero_based: Callable[[], bool] = lambda: True
    annotated: bool = True
    use_difficult: bool | None = None
    format: str = ""
    split_sizes: Callable[[], Mapping[str, int]] = dict
    faults: Sequence[tuple[str, str]] = ()
    share: Share | None = None
    location: str = ""
    noun: str = "annotation"
    images_in: str | Path = "the data set"
    annotations_in: str | Path = "the data set"
    training_in: str | Path = "the data set"

    @property
    def index(self) -> list[str]:
        """Names of the images."""
        return [image.name for image in self.images]
