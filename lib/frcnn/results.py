"""Detections in an image: as a sequence, arrays, a drawing, a table and JSON."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, overload

import numpy as np

from frcnn.pictures import Picture
from utils.draw import draw_detections


class Detection(NamedTuple):
    """One object: its class, its score in 0..1, and its box x1, y1, x2, y2 in inclusive pixels of the image."""

    label: str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False, repr=False)
class Results(Sequence[Detection]):
    """The objects found in an image, by descending score.

    image       (height, width, 3) uint8 BGR
    path        the file of the image; '' for an array
    classes     names of all classes of the detector, background first
    per_class   for each class (n, 5) float32 x1, y1, x2, y2, score
    thresh      only objects with higher scores are included
    best_score  the highest score of any class anywhere in the image, even if it is not above `thresh`
    seconds     time taken, without reading the file
    """

    image: np.ndarray
    path: str
    classes: tuple[str, ...]
    per_class: list[np.ndarray]
    thresh: float
    best_score: float
    seconds: float

    @cached_property
    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        rows = np.concatenate(self.per_class)
        order = np.argsort(-rows[:, 4], kind="stable")
        return rows[order], np.repeat(np.arange(len(self.classes)), [len(found) for found in self.per_class])[order]

    @property
    def boxes(self) -> np.ndarray:
        """(n, 4) float32 x1, y1, x2, y2."""
        return self._rows[0][:, :4]

    @property
    def scores(self) -> np.ndarray:
        """(n,) float32."""
        return self._rows[0][:, 4]

    @property
    def class_indices(self) -> np.ndarray:
        """(n,) indices into `classes`."""
        return self._rows[1]

    @property
    def labels(self) -> np.ndarray:
        """(n,) class names."""
        return np.array(self.classes)[self.class_indices]

    def __len__(self) -> int:
        return len(self.scores)

    @overload
    def __getitem__(self, index: int) -> Detection: ...

    @overload
    def __getitem__(self, index: slice) -> list[Detection]: ...

    def __getitem__(self, index: int | slice) -> Detection | list[Detection]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        x1, y1, x2, y2, score = self._rows[0][index].tolist()
        return Detection(self.classes[self.class_indices[index]], score, (x1, y1, x2, y2))

    def draw(self) -> Picture:
        """Draw the boxes and labels of the objects into the image."""
        return Picture(draw_detections(self.image, self.per_class, self.classes, self.thresh))

    def table(self) -> Iterator[str]:
        """One line per object: class, score and box in whole pixels."""
        width = max(map(len, self.classes))
        for label, score, (x1, y1, x2, y2) in self:
            yield f"{label:<{width}} {score:.3f}  x {x1:.0f}..{x2:.0f}  y {y1:.0f}..{y2:.0f}"

    def as_json(self) -> dict[str, Any]:
        """The path, width and height of the image, and its objects, as JSON values."""
        height, width = self.image.shape[:2]
        return {"image": self.path, "width": width, "height": height,
                "objects": [{"label": label, "score": score, "box": list(box)} for label, score, box in self]}

    def why_empty(self, option: str = "thresh") -> str:
        """'best score 0.41 is below thresh 0.5' if there are no objects, else ''."""
        return "" if len(self) else f"best score {self.best_score:.2f} is below {option} {self.thresh:g}"

    def __repr__(self) -> str:
        name = self.path or f"image {self.image.shape[1]} x {self.image.shape[0]}"
        return "\n".join([f"{name}: {len(self)} objects", *(f"  {line}" for line in [*self.table()] or
                                                             [self.why_empty()])])

    def _repr_png_(self) -> bytes | None:
        return self.draw()._repr_png_()
