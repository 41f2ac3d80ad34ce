"""Average precision of every class of a data set, and its summary."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datasets.voc_eval import Detections, Objects, average_precision


@dataclass
class ClassResult:
    """Result of one class; `ap` is NaN where there is no object of it (difficult ones do not count)."""
    recall: np.ndarray
    precision: np.ndarray
    ap: float


@dataclass
class Evaluation:
    """Results of all classes, background left out."""
    classes: dict[str, ClassResult]

    @property
    def mean_ap(self) -> float:
        """Mean over the classes that have objects; NaN if none has."""
        values = [result.ap for result in self.classes.values() if not np.isnan(result.ap)]
        return float(np.mean(values)) if values else float("nan")

    def report(self) -> str:
        """A table of average precisions, their mean, and which classes are left out of it."""
        width = max(map(len, [*self.classes, "mean AP"]))
        lines = [f"{name:<{width}}  {result.ap:.4f}" for name, result in self.classes.items()
                 if not np.isnan(result.ap)]
        lines.append(f"{'mean AP':<{width}}  {self.mean_ap:.4f}")
        empty = [name for name, result in self.classes.items() if np.isnan(result.ap)]
        if empty:
            lines.append(f"not in the mean, no objects to find: {', '.join(empty)}")
        return "\n".join(lines)


def class_detections(image_index: Sequence[str], boxes: Sequence[np.ndarray]) -> Detections:
    """Detections of one class from (N, 5) arrays x1, y1, x2, y2, score for each image."""
    rows = [np.reshape(image_boxes, (-1, 5)) for image_boxes in boxes]
    images = [name for name, image_rows in zip(image_index, rows, strict=True) for _ in image_rows]
    flat = np.concatenate([np.zeros((0, 5), np.float32), *rows])
    return Detections(images, flat[:, 4], flat[:, :4])


def evaluate(detections: dict[str, Detections], objects: dict[str, dict[str, Objects]], ovthresh: float = 0.5,
             use_07_metric: bool = False) -> Evaluation:
    """Evaluate each class: its detections, and its objects by image name (see voc_eval.py)."""
    return Evaluation({name: ClassResult(*average_precision(detections[name], objects[name], ovthresh,
                                                            use_07_metric)) for name in detections})
