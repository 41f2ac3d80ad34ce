"""Joins several data sets into one."""
from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence

import numpy as np

from datasets.average_precision import Objects
from datasets.evaluation import Evaluation, check_distinct, class_detections, evaluate
from datasets.imdb import imdb
from datasets.problems import Problem
from datasets.roidb import Entry
from datasets.source import DatasetError, NothingToEvaluateError


class JoinedImdb(imdb):
    """The images of several data sets, one after the other; all must have the same classes.

    If two data sets use the same image name, all names are prefixed with the name of their data set and, if those are
    equal, with its number.
    """

    def __init__(self, parts: Sequence[imdb]):
        super().__init__("+".join(part.name for part in parts), parts[0].classes)
        for part in parts[1:]:
            if part.classes != self.classes:
                raise DatasetError(f"{parts[0].name} has the classes {self.classes}, {part.name} has "
                                   f"{part.classes}: only data sets with the same classes can be joined")
        self.parts = list(parts)
        self._load()

    def _load(self) -> None:
        parts = self.parts
        for part in parts:
            check_distinct(part.image_index, part.name)
        prefixes = [[""] * len(parts), [f"{part.name}/" for part in parts],
                    [f"{number}_{part.name}/" for number, part in enumerate(parts, 1)]]
        candidates = ([prefix + name for prefix, part in zip(row, parts, strict=True) for name in part.image_index]
                      for row in prefixes)
        self.image_index = next(names for names in candidates if len(set(names)) == len(names))
        self._paths = [part.image_path_at(i) for part in parts for i in range(part.num_images)]

    def use_classes(self, names: Sequence[str]) -> None:
        for part in self.parts:
            part.use_classes(names)
        self.classes = self.parts[0].classes
        self._load()

    def other_classes(self, names: Sequence[str]) -> list[str]:
        found = [part.other_classes(names) for part in self.parts]
        return sorted({name for names in found for name in names}) if all(found) else []

    @property
    def location(self) -> str:
        return "+".join(part.location for part in self.parts)

    @property
    def is_annotated(self) -> bool:
        return any(part.is_annotated for part in self.parts)

    def _parts_without_annotations(self) -> str:
        return ", ".join(part.name for part in self.parts if not part.is_annotated)

    def image_path_at(self, i: int) -> str:
        return self._paths[i % len(self._paths)]

    def image_sizes(self) -> list[tuple[int, int]]:
        sizes = [size for part in self.parts for size in part.image_sizes()]
        return sizes * (self.num_images // len(sizes))

    def gt_roidb(self) -> list[Entry]:
        return [entry for part in self.parts for entry in part.gt_roidb()]

    def _handler(self, method: str) -> Callable[[], list[Entry]]:
        """A file of proposals is for all parts together; they have their own of other methods."""
        if method == "rpn":
            return super()._handler(method)
        handlers = [part._handler(method) for part in self.parts]
        return lambda: [entry for handler in handlers for entry in handler()]

    def leave_out(self, files: Collection[str]) -> None:
        for part in self.parts:
            part.leave_out({part.image_path_at(i) for i in range(part.num_images)}.intersection(files))
        self._load()

    def validate(self) -> list[Problem]:
        """The problems of all parts. Raises DatasetError if no part has anything to train on, or one no annotations."""
        if unknown := self._parts_without_annotations():
            raise DatasetError(f"{unknown}: has no annotations, so that all of its images would be trained on as "
                               "background; leave it out")
        problems: list[Problem] = []
        errors = []
        for part in self.parts:
            try:
                problems += part.validate()
            except DatasetError as error:
                errors.append(str(error))
        if len(errors) == len(self.parts):
            raise DatasetError("\n".join(errors))
        return problems

    def summary(self) -> str:
        return "\n".join(part.summary() for part in self.parts)

    def evaluate_detections(self, all_boxes: Sequence[Sequence[np.ndarray]],
                            output_dir: str | os.PathLike) -> Evaluation:
        """Average precisions over the images of all parts at IoU 0.5, by the area metric; writes nothing.

        Images of parts without annotations are left out, which is printed. Raises NothingToEvaluateError if no part has
        any, and if a custom data set among them provides no objects by class.
        """
        if not self.is_annotated:
            raise NothingToEvaluateError(f"{self.name}: has no annotations, so there is nothing to evaluate against; "
                                         f"the detections are in {output_dir}")
        if without := self._parts_without_annotations():
            print(f"not evaluated, as there are no annotations: {without}", flush=True)
        unknown = [part.name for part in self.parts if type(part).objects_of_class is imdb.objects_of_class]
        if unknown:
            raise NothingToEvaluateError(
                f"{', '.join(unknown)}: has no method objects_of_class, so that it can be evaluated only alone, by its "
                f"own evaluate_detections; the detections are in {output_dir}")
        detections = {name: class_detections(self.image_index, boxes)
                      for name, boxes in list(zip(self.classes, all_boxes, strict=True))[1:]}
        return evaluate(detections, {name: self.objects_of_class(name) for name in detections})

    def objects_of_class(self, name: str) -> dict[str, Objects]:
        """The objects of a class by image name."""
        found = [part.objects_of_class(name) for part in self.parts]
        ordered = [objects[image] for part, objects in zip(self.parts, found, strict=True)
                   for image in part.image_index]
        return dict(zip(self.image_index, ordered, strict=True))
