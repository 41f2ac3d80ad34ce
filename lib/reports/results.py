"""The results of a detector on a data set: average precisions, curves, and mistakes."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datasets.all_boxes import in_classes_of
from datasets.class_names import ClassNames
from datasets.coco_ap import AREAS, coco_aps
from datasets.diagnosis import Diagnosis, Truth, best_score, diagnose, found_in_images, truths_of
from datasets.evaluation import Evaluation, class_detections, evaluate
from datasets.imdb import imdb as Imdb


@dataclass(frozen=True)
class ClassScores:
    """Results of a class; average precisions are NaN without objects to find."""

    name: str
    objects: int            # without difficult ones
    ap50: float
    ap75: float
    ap: float               # mean over IoU 0.50, 0.55, .. 0.95
    voc: float
    by_size: tuple[float, ...]      # `ap` for each of coco_ap.AREAS


@dataclass(frozen=True)
class TestResults:
    """Results of all classes of a data set."""

    imdb: Imdb
    evaluation: Evaluation
    classes: list[ClassScores]
    truths: list[Truth]
    diagnosis: Diagnosis

    def mean(self, of: str) -> float:
        """The mean of an average precision over the classes that have objects."""
        return _mean([getattr(each, of) for each in self.classes])

    def mean_by_size(self) -> list[float]:
        """The mean `ap` for each of coco_ap.AREAS."""
        return [_mean(column) for column in zip(*(each.by_size for each in self.classes), strict=True)]


def has_objects(imdb: Imdb) -> bool:
    """Whether a data set provides its objects by class, and has any."""
    try:
        return any(len(objects.boxes) for name in imdb.classes[1:] for objects in imdb.objects_of_class(name).values())
    except NotImplementedError:
        return False


def test_results(imdb: Imdb, all_boxes: Sequence[Sequence[np.ndarray]], known: Sequence[str]) -> TestResults:
    """Evaluate detections [class][image], rows x1, y1, x2, y2, score, of a detector with the classes `known`."""
    boxes, find = in_classes_of(imdb, all_boxes, known), ClassNames(known).find
    detections = {name: class_detections(imdb.image_index, of_class)
                  for name, of_class in list(zip(imdb.classes, boxes, strict=True))[1:] if find(name) in known}
    objects = {name: imdb.objects_of_class(name) for name in detections}
    evaluation, classes = evaluate(detections, objects), []
    voc = evaluation.aps(use_07_metric=False)
    for name, found in detections.items():
        sizes = [coco_aps(found, objects[name], area) for area in AREAS.values()]
        count = sum(int((~things.difficult).sum()) for things in objects[name].values())
        classes.append(ClassScores(name, count, **evaluation.classes[name].coco_figures(), voc=voc.get(name, np.nan),
                                   by_size=tuple(float(aps.mean()) for aps in sizes)))
    founds, truths = found_in_images(boxes), truths_of(imdb)
    score = best_score(founds, truths)
    return TestResults(imdb, evaluation, classes, truths, diagnose(founds, truths, imdb.num_classes, score))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
