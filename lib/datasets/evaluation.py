"""Average precision of every class of a data set, and summaries of it."""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from datasets.average_precision import Detections, Objects, average_precision, voc_ap
from datasets.coco_ap import IOU_THRESHOLDS, coco_aps
from datasets.source import DatasetError

# COCO's metrics, and the indices of the IoU thresholds over which they average
COCO_FIGURES = {"ap50": [0], "ap75": [5], "ap": list(range(len(IOU_THRESHOLDS)))}


def _unknown_aps() -> np.ndarray:
    return np.full(len(IOU_THRESHOLDS), np.nan)


@dataclass
class ClassResult:
    """Result of one class; `ap` and `coco` are NaN if it has no objects (difficult ones do not count).

    coco  average precision by COCO's definition at each of its IOU_THRESHOLDS
    """
    recall: np.ndarray
    precision: np.ndarray
    ap: float
    coco: np.ndarray = field(default_factory=_unknown_aps)

    def coco_figures(self) -> dict[str, float]:
        """`ap50`, `ap75`, and `ap`, the mean over IoU 0.50, 0.55, .. 0.95."""
        return {name: float(self.coco[which].mean()) for name, which in COCO_FIGURES.items()}


@dataclass
class Evaluation:
    """Results of all classes except the background."""
    classes: dict[str, ClassResult]

    @property
    def mean_ap(self) -> float:
        """Mean over the classes that have objects; NaN if there are none."""
        values = [result.ap for result in self.classes.values() if not np.isnan(result.ap)]
        return float(np.mean(values)) if values else float("nan")

    def aps(self, use_07_metric: bool) -> dict[str, float]:
        """Average precision of the classes that have objects, by VOC's 2007 definition or the later one."""
        return {name: voc_ap(result.recall, result.precision, use_07_metric)
                for name, result in self.classes.items() if not np.isnan(result.ap)}

    def coco_means(self) -> dict[str, float]:
        """Means of `coco_figures` over the classes that have objects; NaN if there are none."""
        found = [result.coco_figures() for result in self.classes.values() if not np.isnan(result.coco).all()]
        return {name: float(np.mean([figures[name] for figures in found] or [np.nan])) for name in COCO_FIGURES}

    def as_json(self) -> dict[str, Any]:
        """Average precisions of each class and their means; null for a class without objects.

            {"classes": {"cat": {"ap50", "ap75", "ap", "voc_area", "voc_11_points"}, ...}, "mean": {the same}}
        """
        voc = {"voc_area": self.aps(False), "voc_11_points": self.aps(True)}
        classes = {name: {**result.coco_figures(), **{key: aps.get(name, np.nan) for key, aps in voc.items()}}
                   for name, result in self.classes.items()}
        mean = {**self.coco_means(), **{key: float(np.mean([*aps.values()] or [np.nan])) for key, aps in voc.items()}}
        return {"classes": {name: _for_json(figures) for name, figures in classes.items()}, "mean": _for_json(mean)}

    def report(self) -> str:
        """A table of average precisions by both definitions, their means, the classes left out, and COCO's means."""
        width = max(map(len, [*self.classes, "mean AP"]))
        area, points = self.aps(False), self.aps(True)
        area["mean AP"], points["mean AP"] = (float(np.mean([*column.values()] or [np.nan]))
                                              for column in (area, points))
        rows = [(name, area[name], points[name]) for name in area]
        lines = [f"{'':<{width}}  area    11 points"]
        lines += [f"{name:<{width}}  {by_area:.4f}  {by_points:.4f}" for name, by_area, by_points in rows]
        empty = [name for name in self.classes if name not in area]
        if empty:
            lines.append(f"not in the mean, no objects to find: {', '.join(empty)}")
        coco = self.coco_means()
        lines.append(f"mAP as COCO defines it: {coco['ap50']:.4f} at IoU 0.5, {coco['ap75']:.4f} at 0.75, "
                     f"{coco['ap']:.4f} over 0.50:0.95")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.report()


def _for_json(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Replace NaN, which JSON lacks, by None."""
    return {name: None if np.isnan(value) else float(value) for name, value in figures.items()}


def check_distinct(image_index: Sequence[str], of: str = "the data set") -> None:
    """Raise DatasetError if two images have the same name: their objects could not be told apart."""
    if len(set(image_index)) < len(image_index):
        name, count = Counter(image_index).most_common(1)[0]
        raise DatasetError(f"{of} has {count} images named {name!r}; give each its own name")


def class_detections(image_index: Sequence[str], boxes: Sequence[np.ndarray]) -> Detections:
    """Detections of one class from (N, 5) arrays x1, y1, x2, y2, score for each image.

    Raises DatasetError if two images have the same name.
    """
    check_distinct(image_index)
    rows = [np.reshape(image_boxes, (-1, 5)) for image_boxes in boxes]
    images = [name for name, image_rows in zip(image_index, rows, strict=True) for _ in image_rows]
    flat = np.concatenate([np.zeros((0, 5), np.float32), *rows])
    return Detections(images, flat[:, 4], flat[:, :4])


def evaluate(detections: dict[str, Detections], objects: dict[str, dict[str, Objects]], ovthresh: float = 0.5,
             use_07_metric: bool = False) -> Evaluation:
    """Evaluate each class: its detections, and its objects by image name (see average_precision.py, coco_ap.py)."""
    return Evaluation({name: ClassResult(*average_precision(found, objects[name], ovthresh, use_07_metric),
                                         coco_aps(found, objects[name])) for name, found in detections.items()})
