"""Cleans the annotation of one image; records every problem and how it is handled."""
from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Sequence

import numpy as np

from datasets.class_names import BACKGROUND, ClassNames
from datasets.image_size import ends_early, exif_orientation, image_size
from datasets.problems import CLIPPED, DROPPED, EXCHANGED, LEFT_OUT, SCALED, TURNED, Problem
from datasets.records import Record
from datasets.source import ANY_CLASS, Annotation, DatasetError, Source, SourceImage
from utils.errors import message_of
from utils.image_header import Size, turned_boxes
from utils.text import has_unprintable


def make_record(image: SourceImage, source: Source, classes: ClassNames, origin: int,
                problems: list[Problem]) -> Record | None:
    """Read and clean one image's annotation; None if the image must be left out. Appends to `problems`.

    classes  the known class names
    origin   coordinate of the first pixel in the annotation, 0 or 1
    """
    name, file, problem = image
    if file is None or has_unprintable(name):
        problem = problem if file is None else "its name has control characters, or is not UTF-8; rename it"
        problems.append(Problem(name, problem, LEFT_OUT))
        return None
    try:
        size = image_size(file)
        annotation = source.read(name, size) if source.annotated else Annotation.of([], [])
        boxes = ordered(name, annotation, origin, problems)
        if annotation.size not in (None, size):
            boxes = fitted(name, file, boxes, annotation.size, size, source.noun, problems)
    except (ValueError, OSError) as error:
        problems.append(Problem(name, message_of(error), LEFT_OUT))
        return None
    if ends_early(file):
        problems.append(Problem(name, f"{os.path.basename(file)} ends early", "used as far as it can be decoded"))
    annotation = dataclasses.replace(annotation, names=[classes.find(label) for label in annotation.names])
    boxes, keep = clean_boxes(name, annotation, boxes, size, classes, problems)
    crowd = np.zeros(len(annotation.names), bool) if annotation.crowd is None else annotation.crowd
    return Record(name, file, size, boxes[keep], [annotation.names[i] for i in keep], annotation.difficult[keep],
                  crowd[keep])


def ordered(name: str, annotation: Annotation, origin: int, problems: list[Problem]) -> np.ndarray:
    """Zero-based boxes (N, 4) whose first corner is the upper left one. Appends to `problems`."""
    boxes = annotation.boxes - np.float32(origin)
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    for index in np.flatnonzero((boxes[:, :2] > boxes[:, 2:]).any(axis=1)).tolist():
        box, swapped = annotation.boxes[index], boxes[index, :2] > boxes[index, 2:]
        what = " and ".join(f"{axis}min {box[i]:g} > {axis}max {box[i + 2]:g}" for i, axis in enumerate("xy")
                            if swapped[i])
        problems.append(Problem(name, f"{_named(annotation, index)} has {what}", EXCHANGED, kind=EXCHANGED))
    return np.hstack([low, high])


def fitted(name: str, file: str, boxes: np.ndarray, said: Size, size: Size, noun: str,
           problems: list[Problem]) -> np.ndarray:
    """Zero-based boxes (N, 4) for an image whose size differs from that in its annotation. Appends to `problems`.

    Differences of a pixel are tolerated. If EXIF rotates the image by 90 degrees, the boxes are rotated, too; if it was
    resized, they are scaled. Raises DatasetError in other cases, in which the places of the boxes are unknown.
    """
    what = f"the {noun} says {said}, the image's size is {size}"
    if all(abs(a - b) <= 1 for a, b in zip(said, size, strict=True)):
        problems.append(Problem(name, what, "the image's size is used"))
        return boxes
    turn, ratios = exif_orientation(file), [b / a for a, b in zip(said, size, strict=True)]
    if said == size[::-1] and turn >= 5:
        action, result = TURNED, turned_boxes(boxes, said, turn)
        what += f", turned by its EXIF orientation {turn}"
    elif _one_factor(said, size):
        action = SCALED
        result = (boxes + [0, 0, 1, 1]) * [*ratios, *ratios] - [0, 0, 1, 1]     # scales edges, not centres, of pixels
    else:
        raise DatasetError(f"{what}: the image was cropped, rotated "
                           "(perhaps by EXIF) or replaced after it was annotated")
    if len(boxes) and (boxes[:, 2:].max(axis=0) > said).any():
        raise DatasetError(f"{what}, and some boxes extend beyond the size in the {noun}")
    problems.append(Problem(name, what, action))
    return result.astype(np.float32)


def _one_factor(said: Size, size: Size) -> bool:
    """Whether one factor scales the first size to the second, up to rounding."""
    lowest = max((new - 1) / old for old, new in zip(said, size, strict=True))
    highest = min((new + 1) / old for old, new in zip(said, size, strict=True))
    return lowest < highest


def clean_boxes(name: str, annotation: Annotation, boxes: np.ndarray, size: Size, classes: ClassNames,
                problems: list[Problem]) -> tuple[np.ndarray, np.ndarray]:
    """Zero-based boxes (N, 4), clipped, and the indices of those to keep. Appends to `problems`.

    Boxes that extend beyond the image by at most a pixel, as after rounding, are not reported.
    """
    width, height = size
    clipped = np.clip(boxes, 0, np.array([width - 1, height - 1, width - 1, height - 1], np.float32))
    keep = []
    for index, label in enumerate(annotation.names):
        box, problem = _named(annotation, index), None
        outside = float(np.abs(boxes[index] - clipped[index]).max())
        if label == BACKGROUND:
            problem = Problem(name, f"{label!r} is the name of the background, not of a class", DROPPED, label)
        elif label == ANY_CLASS and not annotation.difficult[index]:
            problem = Problem(name, f"{label!r} is the name of a region to ignore, not of a class", DROPPED, label)
        elif label not in classes.classes and label != ANY_CLASS:
            problem = Problem(name, f"unknown class {label!r}{_nearest(label, classes.classes)}", DROPPED, label)
        elif not _has_area(boxes[index]):
            problem = Problem(name, f"{box} has no area", DROPPED, kind="no area")
        elif not _has_area(clipped[index]):
            problem = Problem(name, f"{box} lies outside the image ({width} x {height})", DROPPED, kind="outside")
        elif outside > 1:
            what = f"{box} extends beyond the image ({width} x {height}) by {outside:g}"
            problems.append(Problem(name, what, CLIPPED, kind=CLIPPED))
        if problem:
            problems.append(problem)
        else:
            keep.append(index)
    return clipped, np.array(keep, np.int64)


def _named(annotation: Annotation, index: int) -> str:
    """Describe an object by its class and its box in the annotation."""
    return f"{annotation.names[index]} ({', '.join(f'{value:g}' for value in annotation.boxes[index])})"


def _has_area(box: np.ndarray) -> bool:
    """Whether a box has an area; if its corners coincide, it is an accidental click, not a box of one pixel."""
    return bool(box[2] > box[0] and box[3] > box[1])


def _nearest(name: str, names: Sequence[str]) -> str:
    by_lower = {known.lower(): known for known in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f" (near: {by_lower[near[0]]!r})" if near else ""
