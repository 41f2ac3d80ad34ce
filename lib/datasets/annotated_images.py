"""Data sets on disk, with annotations in any format; source.py describes what a format's reader returns."""
from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from datasets.average_precision import Detections, Objects
from datasets.class_names import ClassNames, find_classes, with_background
from datasets.cleaning import make_record
from datasets.detection_files import detections_file_names, write_detections
from datasets.evaluation import Evaluation, class_detections, evaluate
from datasets.image_size import exif_orientation
from datasets.imdb import imdb
from datasets.lazy_roidb import objects_roidb
from datasets.problems import LEFT_OUT, TURNED, Problem, report
from datasets.records import Record, Records
from datasets.roidb import Entry
from datasets.source import ANY_CLASS, DatasetError, NothingToEvaluateError, Source, SourceImage
from utils.ragged import Ragged
from utils.timer import with_progress


class AnnotatedImages(imdb):
    """A split of a data set on disk.

    source         what the reader of its format returns
    classes        names, background first; None: the source's, or else those of the training split's objects, sorted
    zero_based     whether coordinates of the annotations count from 0, not from 1; None: as detected by the source
    use_difficult  train on objects marked as difficult; overridden by the source
    use_07_metric  use the 11-point metric instead of the area under the curve

    All files are read once, by the constructor. Faulty annotations are corrected or left out, and listed in `problems`.
    A split without annotations can be tested on, but not evaluated. Class names in annotations may differ from
    `classes` in case. Raises DatasetError if no image is left.
    """

    def __init__(self, source: Source, classes: Sequence[str] | None = None, zero_based: bool | None = None,
                 use_difficult: bool = False, use_07_metric: bool = False):
        super().__init__(source.name)
        self.source = source
        self.use_difficult = use_difficult if source.use_difficult is None else source.use_difficult
        self.use_07_metric = use_07_metric
        self.problems: list[Problem] = []
        self._left_out: list[Problem] = []      # by `leave_out`
        self.zero_based = source.is_zero_based() if zero_based is None else zero_based
        classes = classes if classes is not None else source.classes
        self.classes = with_background(find_classes([source]) if classes is None else classes)
        self._load()

    def _load(self) -> None:
        self._records = Records(self._read(), self.classes)
        if not len(self._records):
            raise DatasetError(f"{self.name}: no usable image in {self.source.images_in}\n"
                               f"{report(self.problems) or 'the list of images is empty'}")
        self.image_index = list(self._records.names)
        if any(problem.action == TURNED for problem in self.problems):
            self.leave_out(self._turned_unseen())

    def _turned_unseen(self) -> dict[str, str]:
        """Annotated files whose size does not change when EXIF turns them, with the reason why they are left out.

        If other images were annotated unturned, the boxes of these may be, too: their size does not tell.
        """
        records, found = self._records, {}
        for path, (width, height), objects in zip(records.paths, records.sizes.tolist(), records.labels.counts,
                                                  strict=True):
            turn = exif_orientation(path) if objects else 1
            if 2 <= turn <= 4 or turn >= 5 and width == height:
                found[path] = (f"is turned by its EXIF orientation {turn} without a change of its size: its boxes may "
                               "be in pixels of the unturned image, as others of this data set are")
        return found

    def _read(self) -> Iterator[Record]:
        source, classes, origin = self.source, ClassNames(self.classes[1:]), 0 if self.zero_based else 1
        label = f"{self.name}: {'annotations' if source.annotated else 'images'}"
        for image in with_progress(label, self._unique_images()):
            record = make_record(image, source, classes, origin, self.problems)
            if record:
                yield record
        self.problems += [Problem(source.split, *fault) for fault in source.faults]
        self.problems += [Problem(source.split, f"{count} objects are named {name!r}", f"taken as {found!r}")
                          for (name, found), count in classes.respelled.items()]

    def _unique_images(self) -> list[SourceImage]:
        images: dict[str, SourceImage] = {}
        for image in self.source.images:
            images.setdefault(image.name, image)
        count = len(self.source.images) - len(images)
        if count:
            self.problems.append(Problem(self.source.split, f"{count} names of images are listed twice", "used once"))
        return list(images.values())

    @property
    def is_annotated(self) -> bool:
        return self.source.annotated

    def use_classes(self, names: Sequence[str]) -> None:
        self.classes, self.problems = with_background(names), list(self._left_out)
        self._load()

    def other_classes(self, names: Sequence[str]) -> list[str]:
        found = {name for label, name in enumerate(self.classes) if label and self._records.count_of(label)}
        if found.intersection(names):
            return []
        return sorted(found.union(problem.label for problem in self.problems if problem.label))

    @property
    def location(self) -> str:
        found = self.source
        return f"{found.location}:{found.split}{found.share or ''}" if found.location else self.name

    def leave_out(self, files: Collection[str]) -> None:
        reasons = files if isinstance(files, Mapping) else dict.fromkeys(files, "cannot be decoded")
        broken = {image.name: f"{os.path.basename(image.file)} {reasons[image.file]}" for image in self.source.images
                  if image.file and image.file in reasons}
        if broken:
            self._left_out += [Problem(name, what, LEFT_OUT) for name, what in sorted(broken.items())]
            self.problems = list(self._left_out)
            self.source = dataclasses.replace(
                self.source, images=[image for image in self.source.images if image.name not in broken])
            self._load()

    def validate(self) -> list[Problem]:
        """All problems in the files of this split, and how they are handled.

        Raises DatasetError if there is nothing to train on.
        """
        if not self._objects()[0].counts.any():
            difficult = len(self._records.difficult.flat)
            reason = (f"all {difficult} objects are marked as difficult; 'use_difficult: true' in a YAML file "
                      "(docs/own_dataset.md) trains on them" if difficult else "no image has an object to train on")
            raise DatasetError(f"{self.name}: {reason}\n{report(self.problems)}".rstrip())
        return self.problems

    def summary(self) -> str:
        """The numbers of images and objects, the origin of the coordinates, and the problems."""
        counts = [f"{self._records.count_of(label)} {name}" for label, name in enumerate(self.classes) if label]
        lines = [*self._format_line(),
                 f"{self.name}: {len(self._records)} images, {', '.join(counts)}",
                 f"coordinates count from {0 if self.zero_based else 1}"]
        empty = int(np.sum(self._records.labels.counts == 0))
        if empty and self.source.annotated:
            lines.append(f"{empty} images have no object")
        ignored = int(self._records.difficult.flat.sum())
        if ignored and not self.use_difficult:
            lines.append(f"{ignored} objects are marked as difficult: not trained on, and need not be found")
        return "\n".join([*lines, report(self.problems)]).rstrip()

    def _format_line(self) -> list[str]:
        """The line 'COCO: 2 classes, 20 images, 1,911 boxes in train; splits: ...'; none for a format without name."""
        if not self.source.format:
            return []
        sizes = self.source.split_sizes()
        line = (f"{self.source.format}: {len(self.classes) - 1} classes, {len(self._records):,} images, "
                f"{len(self._records.labels.flat):,} boxes")
        splits = ", ".join(f"{name} {count:,}" for name, count in sizes.items())
        return [f"{line} in {self.source.split}; splits: {splits}" if splits else line]

    def image_path_at(self, i: int) -> str:
        return self._records.paths[i % len(self._records)]

    def image_sizes(self) -> list[tuple[int, int]]:
        sizes = [(width, height) for width, height in self._records.sizes.tolist()]
        return [sizes[i % len(sizes)] for i in range(self.num_images)]

    def records(self) -> list[Record]:
        """The images with their objects, as they are written by datasets/writers."""
        known = self._records
        names = [ANY_CLASS, *self.classes[1:]]
        return [Record(name, path, (width, height), boxes, [names[label] for label in labels.tolist()], difficult,
                       crowd)
                for name, path, (width, height), boxes, labels, difficult, crowd in
                zip(known.names, known.paths, known.sizes.tolist(), known.boxes, known.labels, known.difficult,
                    known.crowd, strict=True)]

    def gt_roidb(self) -> list[Entry]:
        """Entries of the objects; without `use_difficult`, difficult ones are ignored boxes instead."""
        trained = self._is_trained_on()
        return objects_roidb(*self._objects(), None if trained.all() else self._records.select(~trained)[0])

    def _objects(self) -> tuple[Ragged, Ragged]:
        """Boxes and classes of the objects to train on, by image."""
        return self._records.select(self._is_trained_on())

    def _is_trained_on(self) -> np.ndarray:
        """(n,) bool for the objects of all images: whether they are trained on."""
        labels, difficult = self._records.labels.flat, self._records.difficult.flat
        return labels > 0 if self.use_difficult else ~difficult

    def evaluate_detections(self, all_boxes: Sequence[Sequence[np.ndarray]],
                            output_dir: str | os.PathLike) -> Evaluation:
        """Average precisions at IoU 0.5; also writes the detections of each class in VOC's format."""
        detections = {name: class_detections(self.image_index, boxes)
                      for name, boxes in list(zip(self.classes, all_boxes, strict=True))[1:]}
        self.write_detections(detections, output_dir)
        if not self.source.annotated:
            raise NothingToEvaluateError(
                f"{self.name}: no {self.source.noun} in {self.source.annotations_in}, so there is "
                f"nothing to evaluate against; the detections are in {output_dir}")
        objects = {name: self.objects_of_class(name) for name in detections}
        return evaluate(detections, objects, use_07_metric=self.use_07_metric)

    def objects_of_class(self, name: str) -> dict[str, Objects]:
        """The objects of a class by image name, with its difficult objects and regions that are not annotated.

        Without annotations these regions are the whole images.
        """
        label, records = self.classes.index(name), self._records
        if not self.is_annotated:
            return {image: Objects(np.zeros((0, 4), np.float32), np.zeros(0, bool),
                                   np.array([[0, 0, width - 1, height - 1]], np.float32))
                    for image, (width, height) in zip(records.names, records.sizes.tolist(), strict=True)}
        return {image: Objects(boxes[labels == label], difficult[labels == label],
                               boxes[(labels == 0) | (labels == label) & crowd])
                for image, boxes, labels, difficult, crowd in
                zip(records.names, records.boxes, records.labels, records.difficult, records.crowd, strict=True)}

    def write_detections(self, detections: dict[str, Detections], output_dir: str | os.PathLike) -> None:
        """Write the detections of each class in VOC's format: coordinates count from 1."""
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        files = detections_file_names(self.source.split, list(detections))
        for file, found in zip(files, detections.values(), strict=True):
            write_detections(Path(output_dir) / file, Detections(found.images, found.scores, found.boxes + 1))
