"""Data sets with annotations in PASCAL VOC's XML, in any of the layouts of voc_layout.py."""
from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets import voc_checks
from datasets.class_names import ClassNames, merge_spellings
from datasets.evaluation import Evaluation, class_detections, evaluate
from datasets.imdb import imdb
from datasets.lazy_roidb import objects_roidb
from datasets.roidb import Entry
from datasets.voc_annotation import AnnotationError, read_annotation
from datasets.voc_checks import Problem, has_zero, make_record
from datasets.voc_eval import Detections, Objects, detections_file_name, write_detections
from datasets.voc_layout import DatasetError, Layout
from datasets.voc_records import Record, Records
from utils.ragged import Ragged
from utils.timer import with_progress

BACKGROUND = "__background__"


class VocFolder(imdb):
    """A split of a data set on disk.

    layout         what `find_layout` found
    classes        names, background first; None: those of the training split's annotations, sorted
    zero_based     whether the first pixel is 0 in the XML files; None: yes if any xmin or ymin is 0, else no
    use_difficult  train on objects marked as difficult
    use_07_metric  evaluate by 11 points instead of the area under the curve

    Everything is read here, once. What is wrong with the files is mended or left out, and listed in `problems`; raises
    DatasetError if no image is left. A split without any XML file can be tested on, not evaluated. Class names in the
    XML files may differ from `classes` in case.
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
        self.annotated = any(os.path.isfile(layout.annotation_file(name)) for name in layout.index)
        self.zero_based = _is_zero_based(layout.annotation_files) if zero_based is None else zero_based
        self.classes = _with_background(find_classes(layout.training) if classes is None else classes)
        self._load()

    def _load(self) -> None:
        self._records = Records(self._read() if self.annotated else self._read_images(), self.classes)
        if not len(self._records):
            raise DatasetError(f"{self.name}: no usable image in {self.layout.images}\n"
                               f"{voc_checks.report(self.problems) or 'the list of images is empty'}")
        self.image_index = list(self._records.names)

    def _read(self) -> Iterator[Record]:
        images, classes = self.layout.image_files(), ClassNames(self.classes[1:])
        for name in with_progress(f"{self.name}: annotations", self._unique_names()):
            record = make_record(name, images.get(name), self.layout.annotation_file(name), classes,
                                 0 if self.zero_based else 1, self.problems)
            if record:
                yield record
        self.problems += [Problem(self.layout.split, f"{count} objects are named {name!r}", f"taken as {found!r}")
                          for (name, found), count in classes.respelled.items()]

    def _read_images(self) -> Iterator[Record]:
        """Records without objects."""
        images, nothing = self.layout.image_files(), np.zeros((0, 4), np.float32)
        names = self._unique_names()
        missing = [name for name in names if name not in images]
        self.problems += [Problem(name, "no image file of this name", voc_checks.LEFT_OUT) for name in missing]
        for name in with_progress(f"{self.name}: images", [name for name in names if name in images]):
            yield Record(name, images[name], voc_checks.image_size(images[name]), nothing, [], np.zeros(0, bool))

    def leave_out(self, files: Collection[str]) -> None:
        images = self.layout.image_files()
        broken = {name for name in self.layout.index if name in images and str(images[name]) in files}
        if broken:
            self.problems = [Problem(name, f"{os.path.basename(images[name])} cannot be decoded", voc_checks.LEFT_OUT)
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
        if not self._objects()[0].counts.any():
            raise DatasetError(f"{self.name}: no image has an object to train on\n"
                               f"{voc_checks.report(self.problems)}")
        return self.problems

    def summary(self) -> str:
        """Numbers of images and objects, the coordinates' origin, and the problems."""
        counts = [f"{self._records.count_of(label)} {name}" for label, name in enumerate(self.classes) if label]
        lines = [f"{self.name}: {len(self._records)} images, {', '.join(counts)}",
                 f"coordinates count from {0 if self.zero_based else 1}"]
        ignored = int(self._records.difficult.flat.sum())
        if ignored and not self.use_difficult:
            lines.append(f"{ignored} objects are marked as difficult: not trained on, and need not be found")
        return "\n".join([*lines, voc_checks.report(self.problems)]).rstrip()

    def image_path_at(self, i: int) -> str:
        return self._records.paths[i % len(self._records)]

    def image_sizes(self) -> list[tuple[int, int]]:
        sizes = [(width, height) for width, height in self._records.sizes.tolist()]
        return [sizes[i % len(sizes)] for i in range(self.num_images)]

    def gt_roidb(self) -> list[Entry]:
        """Entries of the objects, difficult ones only with `use_difficult`."""
        return objects_roidb(*self._objects())

    def _objects(self) -> tuple[Ragged, Ragged]:
        """Boxes and classes of the objects of each image that are trained on."""
        return (self._records.boxes, self._records.labels) if self.use_difficult else self._records.without_difficult()

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
        label, records = self.classes.index(name), self._records
        mine = [labels == label for labels in records.labels]
        return {image: Objects(boxes[rows], difficult[rows]) for image, boxes, difficult, rows in
                zip(records.names, records.boxes, records.difficult, mine, strict=True)}

    def write_detections(self, detections: dict[str, Detections], output_dir: str | os.PathLike) -> None:
        """Write the detections of each class as VOC wants them: coordinates count from 1."""
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        for name, found in detections.items():
            write_detections(Path(output_dir) / detections_file_name(self.layout.split, name),
                             Detections(found.images, found.scores, found.boxes + 1))


def find_classes(files: Sequence[str]) -> list[str]:
    """Sorted class names of annotation files; broken and missing files are passed over.

    Of spellings that differ in case alone the most frequent one counts.
    """
    names: Counter[str] = Counter()
    for file in with_progress("class names", files):
        try:
            names.update(read_annotation(file).names)
        except AnnotationError:
            continue
    if not names:
        where = os.path.dirname(files[0]) if files else "the data set"
        raise DatasetError(f"{where}: no annotated object found, so no class names; give the classes")
    return merge_spellings(names)


def _with_background(classes: Any) -> tuple[str, ...]:
    if isinstance(classes, str):
        raise DatasetError(f"classes: expected a list of names, found the text {classes!r}")
    names = [str(name).strip() for name in classes]
    names = names if names and names[0] == BACKGROUND else [BACKGROUND, *names]
    if len(set(names)) < len(names):
        raise DatasetError(f"class names must differ: {', '.join(names)}")
    if len(names) == 1:
        raise DatasetError("classes: no name but the background's; name at least one class")
    return tuple(names)


def _is_zero_based(files: Sequence[str]) -> bool:
    return any(has_zero(file) for file in with_progress("origin of coordinates", files))
