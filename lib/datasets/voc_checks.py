"""Checks of one image and its annotation: what is wrong, and what is done about it."""
from __future__ import annotations

import difflib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from datasets.class_names import ClassNames
from datasets.image_size import ends_early, image_size
from datasets.voc_annotation import Annotation, AnnotationError, read_annotation
from datasets.voc_records import Record

_NAMED = 8      # so many images are named where a line is about several
LEFT_OUT, DROPPED, CLIPPED = "image left out", "box dropped", "box clipped"


@dataclass
class Problem:
    """One thing wrong with a data set."""
    image: str      # name of the image
    what: str
    action: str     # what is done about it
    label: str = ""     # unknown class that it is about: reported once for all images


def has_zero(path: str | os.PathLike) -> bool:
    """Whether an xmin or ymin in the file is 0: then its coordinates count from 0, not from 1."""
    with open(path, "rb") as file:
        return re.search(rb"<[xy]min>\s*[+-]?0+(\.0*)?\s*<", file.read()) is not None


def make_record(name: str, image: str | None, annotation_file: str, classes: ClassNames,
                origin: int, problems: list[Problem]) -> Record | None:
    """Read and clean one image's annotation; None if the image must be left out. Appends to `problems`.

    classes  names that are known
    origin   coordinate of the first pixel in the file, 1 for VOC
    """
    if image is None:
        problems.append(Problem(name, "no image file of this name", LEFT_OUT))
        return None
    try:
        size = image_size(image)
        annotation = read_annotation(annotation_file)
        annotation.names = [classes.find(label) for label in annotation.names]
    except (AnnotationError, ValueError) as error:
        problems.append(Problem(name, str(error), LEFT_OUT))
        return None
    if ends_early(image):
        problems.append(Problem(name, f"{os.path.basename(image)} ends early", "used as far as it can be decoded"))
    if annotation.size not in (None, size):
        problems.append(Problem(name, f"the XML file says {annotation.size}, the image's size is {size}",
                                "the image's size is used"))
    boxes, keep = clean_boxes(name, annotation, size, classes, origin, problems)
    return Record(name, image, size, boxes[keep], [annotation.names[i] for i in keep],
                  annotation.difficult[keep])


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
    """A box whose corners coincide would be one pixel wide, but is a slip of the mouse."""
    return bool(box[2] > box[0] and box[3] > box[1])


def _nearest(name: str, names: Sequence[str]) -> str:
    by_lower = {known.lower(): known for known in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f" (near: {by_lower[near[0]]!r})" if near else ""


def report(problems: Iterable[Problem]) -> str:
    """All problems by what is done about them, one a line; unknown classes a line each, however many objects they have.
    """
    by_action: defaultdict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        by_action[problem.action].append(problem)
    groups = [[f"{action} ({len(group)}):", *(f"  {problem.image}: {problem.what}" for problem in group
                                              if not problem.label), *_class_lines(group)]
              for action, group in by_action.items()]
    return "\n".join(line for group in groups for line in group)


def _class_lines(problems: Sequence[Problem]) -> Iterator[str]:
    """A line for each unknown class: how many objects in how many images, and some of these."""
    images: defaultdict[str, list[str]] = defaultdict(list)
    for problem in problems:
        if problem.label:
            images[problem.what].append(problem.image)
    for what, names in images.items():
        different = list(dict.fromkeys(names))
        more = ", ..." if len(different) > _NAMED else ""
        yield f"  {what}: {len(names)} objects in {len(different)} images: {', '.join(different[:_NAMED])}{more}"
