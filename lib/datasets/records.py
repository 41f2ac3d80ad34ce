"""The images of a data set with their objects, in a few arrays: some hundred bytes per image."""
from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from datasets.source import ANY_CLASS
from utils.ragged import Ragged


@dataclass
class Record:
    """A usable image with its objects."""
    name: str
    path: str
    size: tuple[int, int]       # width, height
    boxes: np.ndarray           # (N, 4) float32, zero-based inclusive corners inside the image
    names: list[str]            # class names
    difficult: np.ndarray       # (N,) bool
    crowd: np.ndarray           # (N,) bool, difficult ones that are regions of many objects


class Records:
    """Images with their objects, N per image.

    classes    class names, background first; include the names of all objects
    names      names of the images
    paths      files of the images
    sizes      (I, 2) int32 width, height of the images
    boxes      (N, 4) float32 of each image, see `Record`
    labels     (N,) int32 of each image, indices into `classes`; 0 for a region of any class, which is difficult
    difficult  (N,) bool of each image
    crowd      (N,) bool of each image
    """

    def __init__(self, records: Iterable[Record], classes: Sequence[str]) -> None:
        label_of = {**{name: label for label, name in enumerate(classes)}, ANY_CLASS: 0}
        self.names: list[str] = []
        self.paths: list[str] = []
        sizes, counts, boxes, labels = array("i"), array("q"), array("f"), array("i")
        difficult, crowd = array("b"), array("b")
        for record in records:
            self.names.append(record.name)
            self.paths.append(record.path)
            sizes.extend(record.size)
            counts.append(len(record.names))
            boxes.frombytes(record.boxes.tobytes())
            labels.extend(label_of[name] for name in record.names)
            difficult.frombytes(record.difficult.tobytes())
            crowd.frombytes(record.crowd.tobytes())
        self.sizes = _as_numpy(sizes, np.int32).reshape(-1, 2)
        of_each = _as_numpy(counts, np.int64)
        self.boxes = Ragged(_as_numpy(boxes, np.float32).reshape(-1, 4), of_each)
        self.labels = Ragged(_as_numpy(labels, np.int32), of_each)
        self.difficult = Ragged(_as_numpy(difficult, np.bool_), of_each)
        self.crowd = Ragged(_as_numpy(crowd, np.bool_), of_each)

    def __len__(self) -> int:
        return len(self.names)

    def select(self, chosen: np.ndarray) -> tuple[Ragged, Ragged]:
        """Boxes and labels of chosen objects: (n,) bool for the objects of all images."""
        keep = np.flatnonzero(chosen)
        image_of = np.repeat(np.arange(len(self)), self.difficult.counts)
        counts = np.bincount(image_of[keep], minlength=len(self))
        return Ragged(self.boxes.flat[keep], counts), Ragged(self.labels.flat[keep], counts)

    def count_of(self, label: int) -> int:
        """Number of objects of a class, difficult ones included."""
        return int(np.sum(self.labels.flat == label))


def _as_numpy(values: array, dtype: type) -> np.ndarray:
    return np.frombuffer(values.tobytes(), dtype)
