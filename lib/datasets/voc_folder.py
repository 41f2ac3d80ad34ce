"""Data sets with annotations in PASCAL VOC's XML, in any of the layouts of voc_layout.py."""
from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets import voc_checks
from datasets.evaluation import Evaluation, class_detections, evaluate
from datasets.imdb import imdb
from datasets.roidb import Entry, objects_entry
from datasets.voc_annotation import AnnotationError, read_annotation
from datasets.voc_checks import Problem, Record, has_zero, make_record
from datasets.voc_eval import Detections, Objects, detections_file_name, write_detections
from datasets.voc_layout import DatasetError, Layout

BACKGROUND = "__background__"


class VocFolder(imdb):
    """A split of a data set on disk.

    layout         what `find_layout` found
    classes        names, background first; None: those of the training split's annotations, sorted
    zero_based     whether the first pixel is 0 in the XML files; None: yes if any xmin or ymin is 0, else no
    use_difficult  train on objects marked as difficult
    use_07_metric  evaluate by 11 points instead of the area under the curve

    Everything is read here, once. What is wrong with the files is mended or left out, and listed in
    `problems`;
    raises DatasetError if no image is left. A split without any XML file can be tested on, not evaluated.
    """

    def __init__(self, layout: Layout, classes: Sequence[str] | None = None, zero_based: bool | None = None,
                 use_difficult: bool = False, use_07_metric: bool = False):
        super().__init__(layout.name)
        options = layout.options
        classes = classes if classes is not None else options.get("classes")
        zero_based = zero_based if zero_based is not None else options.get("zero_based")
        self.layout = layout
        self.use_difficult = options.get("use_difficult", use_difficult)
        self.use_07_metric = use_07_metric
        self.problems: list[Problem] = []
        files = [layout.annotation_file(name) for name in layout.index]
        self.annotated = any(file.is_file() for file in files)
        self.zero_based = _is_zero_based(layout.annotation_files) if zero_based is None else zero_based
        self.classes = _with_background(find_classes(layout.training) if classes is None else classes)
        self._load()

    def _load(self) -> None:
        self._records = self._read() if self.annotated else self._read_images()
        if not self._records:
            raise DatasetError(f"{self.name}: no usable image in {self.layout.images}\n"
                               f"{voc_checks.report(self.problems) or 'the list of images is empty'}")
        self.image_index = [record.name for record in self._records]

    def _read(self) -> list[Record]:
        images = self.layout.image_files()
        records = [make_record(name, images.get(name), self.layout.annotation_file(name), self.classes[1:],
                               0 if self.zero_based else 1, self.problems) for name in self._unique_names()]
        return [record for record in records if record]

    def _read_images(self) -> list[Record]:
        """Records without objects."""
        images, nothing = self.layout.image_files(), np.zeros((0, 4), np.float32)
        names = self._unique_names()
        missing = [name for name in names if name not in images]
        self.problems += [Problem(name, "no image file of this name", voc_checks.LEFT_OUT) for name in missing]
        return [Record(name, images[name], voc_checks.image_size(images[name]), nothing, [], np.zeros(0, bool))
                for name in names if name in images]

    def leave_out(self, files: Collection[str]) -> None:
        images = self.layout.image_files()
        broken = {name for name in self.layout.index if name in images and str(images[name]) in files}
        if broken:
            self.problems = [Problem(name, f"{images[name].name} cannot be decoded", voc_checks.LEFT_OUT)
                             for name in sorted(broken)]
            self.layout = dataclasses.replace(
                self.layout, index=[name for name in self.layout.index if name not in broken])
            self._load()

    def _unique_names(self) -> list[str]:
        names = list(dict.fromkeys(self.layout.index))
        if len(names) < len(self.layout.index):
            count = len(self.layout.index) - len(names)
            self.problems.append(Problem(self.layout.split, f"{count} names of images are listed twice",
                                         "used once"))
        return names

    def validate(self) -> list[Problem]:
        """Everything that is wrong with the files of this split, and what is done about it.

        Raises DatasetError if there is nothing to train on.
        """
        if not any(len(entry["boxes"]) for entry in self.gt_roidb()):
            raise DatasetError(f"{self.name}: no image has an object to train on\n"
                               f"{voc_checks.report(self.problems)}")
        return self.problems

    def summary(self) -> str:
        """Numbers of images and objects, the coordinates' origin, and the problems."""
        counts = [f"{sum(record.names.count(name) for record in self._records)} {name}"
                  for name in self.classes[1:]]
        lines = [f"{self.name}: {len(self._records)} images, {', '.join(counts)}",
                 f"coordinates count from {0 if self.zero_based else 1}"]
        ignored = sum(int(record.difficult.sum()) for record in self._records)
        if ignored and not self.use_difficult:
            lines.append(f"{ignored} objects are marked as difficult: not trained on, and need not be found")
        return "\n".join([*lines, voc_checks.report(self.problems)]).rstrip()

    def image_path_at(self, i: int) -> str:
        return str(self._records[i % len(self._records)].path)

    def image_sizes(self) -> list[tuple[int, int]]:
        return [self._records[i % len(self._records)].size for i in range(self.num_images)]

    def gt_roidb(self) -> list[Entry]:
        """Entries of the objects, difficult ones only with `use_difficult`."""
        return [self._objects(record) for record in self._records]

    def _objects(self, record: Record) -> Entry:
        keep = np.flatnonzero(~record.difficult | self.use_difficult)
        labels = {name: label for label, name in enumerate(self.classes)}
        return objects_entry(record.boxes[keep], np.array([labels[record.names[i]] for i in keep], np.int32))

    def evaluate_detections(self, all_boxes: Sequence[Sequence[np.ndarray]],
                            output_dir: str | os.PathLike) -> Evaluation:
        """Average precisions at IoU 0.5; writes each class's detections in VOC's format."""
        detections = {name: class_detections(self.image_index, boxes)
                      for name, boxes in list(zip(self.classes, all_boxes, strict=True))[1:]}
        self.write_detections(detections, output_dir)
        if not self.annotated:
            raise DatasetError(f"{self.name}: no XML file in {self.layout.annotations}, so there is nothing to "
                               f"evaluate against; the detections are in {output_dir}")
        objects = {name: self.objects_of_class(name) for name in detections}
        return evaluate(detections, objects, use_07_metric=self.use_07_metric)

    def objects_of_class(self, name: str) -> dict[str, Objects]:
        """The objects of a class by image name, difficult ones included."""
        objects = {}
        for record in self._records:
            mine = [index for index, found in enumerate(record.names) if found == name]
            objects[record.name] = Objects(record.boxes[mine], record.difficult[mine])
        return objects

    def write_detections(self, detections: dict[str, Detections], output_dir: str | os.PathLike) -> None:
        """Write the detections of each class as VOC wants them: coordinates count from 1."""
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        for name, found in detections.items():
            write_detections(Path(output_dir) / detections_file_name(self.layout.split, name),
                             Detections(found.images, found.scores, found.boxes + 1))


def find_classes(files: Sequence[Path]) -> list[str]:
    """Sorted class names of annotation files; broken and missing files are passed over."""
    names: set[str] = set()
    for file in files:
        try:
            names.update(read_annotation(file).names)
        except AnnotationError:
            continue
    if not names:
        where = files[0].parent if files else "the data set"
        raise DatasetError(f"{where}: no annotated object found, so no class names; give the classes")
    return sorted(names)


def _with_background(classes: Any) -> tuple[str, ...]:
    names = [str(name).strip() for name in classes]
    names = names if names and names[0] == BACKGROUND else [BACKGROUND, *names]
    if len(set(names)) < len(names):
        raise DatasetError(f"class names must differ: {', '.join(names)}")
    return tuple(names)


def _is_zero_based(files: Sequence[Path]) -> bool:
    return any(has_zero(file) for file in files)
