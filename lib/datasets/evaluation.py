"""Average precision of every class of a data set, and its summary."""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datasets.average_precision import Detections, Objects, average_precision, voc_ap
from datasets.source import DatasetError


@dataclass
class ClassResult:
    """Result of one class; `ap` is NaN if it has no objects (difficult ones do not count)."""
    recall: np.ndarray
    precision: np.ndarray
    ap: float


@dataclass
class Evaluation:
    """Results of all classes except the background."""
    classes: dict[str, ClassResult]

    @property
    def mean_ap(self) -> float:
        """Mean over the classes that have objects; NaN if none has."""
        values = [result.ap for result in self.classes.values() if not np.isnan(result.ap)]
        return float(np.mean(values)) if values else float("nan")

    def aps(self, use_07_metric: bool) -> dict[str, float]:
        """Average precision of the classes that have objects, by VOC's 2007 definition or the later one."""
        return {name: voc_ap(result.recall, result.precision, use_07_metric)
                for name, result in self.classes.items() if not np.isnan(result.ap)}

    def report(self) -> str:
        """A table of average precisions by both definitions, their means, and the classes left out."""
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
        return "\n".join(lines)


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
    """Evaluate each class: its detections, and its objects by image name (see average_precision.py)."""
    return Evaluation({name: ClassResult(*average_precision(detections[name], objects[name], ovthresh,
                                                            use_07_metric)) for name in detections})
