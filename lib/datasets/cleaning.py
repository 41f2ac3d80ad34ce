"""Cleans one image and its annotation: every problem is recorded, with how it is handled."""
from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Sequence

import numpy as np

from datasets.class_names import ClassNames
from datasets.image_size import ends_early, image_size
from datasets.problems import CLIPPED, DROPPED, LEFT_OUT, Problem
from datasets.records import Record
from datasets.source import Annotation, Source, SourceImage


def make_record(image: SourceImage, source: Source, classes: ClassNames, origin: int,
                problems: list[Problem]) -> Record | None:
    """Read and clean one image's annotation; None if the image must be left out. Appends to `problems`.

    classes  the known names
    origin   coordinate of the first pixel in the annotation, 0 or 1
    """
    name, file = image
    if file is None:
        problems.append(Problem(name, "no image file of this name", LEFT_OUT))
        return None
    try:
        size = image_size(file)
        annotation = source.read(name, size) if source.annotated else Annotation.of([], [])
    except ValueError as error:
        problems.append(Problem(name, str(error), LEFT_OUT))
        return None
    if ends_early(file):
        problems.append(Problem(name, f"{os.path.basename(file)} ends early", "used as far as it can be decoded"))
    if annotation.size not in (None, size):
        problems.append(Problem(name, f"the {source.noun} says {annotation.size}, the image's size is {size}",
                                "the image's size is used"))
    annotation = dataclasses.replace(annotation, names=[classes.find(label) for label in annotation.names])
    boxes, keep = clean_boxes(name, annotation, size, classes, origin, problems)
    return Record(name, file, size, boxes[keep], [annotation.names[i] for i in keep], annotation.difficult[keep])


def clean_boxes(name: str, annotation: Annotation, size: tuple[int, int], classes: ClassNames,
                origin: int, problems: list[Problem]) -> tuple[np.ndarray, np.ndarray]:
    """Zero-based boxes (N, 4), clipped, and the indices of those to keep. Appends to `problems`."""
    width, height = size
    boxes = annotation.boxes - np.float32(origin)
    clipped = np.clip(boxes, 0, np.array([width - 1, height - 1, width - 1, height - 1], np.float32))
    keep = []
    for index, label in enumerate(annotation.names):
        corners = ", ".join(f"{value:g}" for value in annotation.boxes[index])
        box, problem = f"{label} ({corners})", None
        outside = float(np.abs(boxes[index] - clipped[index]).max())
        if label not in classes.classes:
            problem = Problem(name, f"unknown class {label!r}{_nearest(label, classes.classes)}", DROPPED, label)
        elif not _has_area(boxes[index]):
            problem = Problem(name, f"{box} has no area", DROPPED)
        elif not _has_area(clipped[index]):
            problem = Problem(name, f"{box} lies outside the image ({width} x {height})", DROPPED)
        elif outside > 0:
            what = f"{box} sticks out of the image ({width} x {height}) by {outside:g}"
            problems.append(Problem(name, what, CLIPPED))
        if problem:
            problems.append(problem)
        else:
            keep.append(index)
    return clipped, np.array(keep, np.int64)


def _has_area(box: np.ndarray) -> bool:
    """Whether a box has an area; one whose corners coincide is a slip of the mouse, not a box of one pixel."""
    return bool(box[2] > box[0] and box[3] > box[1])


def _nearest(name: str, names: Sequence[str]) -> str:
    by_lower = {known.lower(): known for known in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f" (near: {by_lower[near[0]]!r})" if near else ""
