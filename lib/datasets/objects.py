"""The annotated objects of a data set in a few arrays, and their boxes in scaled images."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.source import OF_A_CACHE, DatasetError
from utils.blob import im_scale_for


@dataclass(frozen=True)
class ObjectTable:
    """The objects of all images, one after the other."""

    boxes: np.ndarray       # (G, 4) in pixels of the original images
    labels: np.ndarray      # (G,) classes
    images: np.ndarray      # (G,) index of each object's image
    im_sizes: np.ndarray    # (I, 2) width and height of the original images

    @classmethod
    def from_roidb(cls, roidb: Sequence[Mapping[str, Any]], sizes: Sequence[tuple[int, int]]) -> ObjectTable:
        """The RoIs with a class in `gt_classes`; `sizes` holds the (width, height) of each image.

        Raises DatasetError for another number of entries.
        """
        if len(roidb) != len(sizes):
            raise DatasetError(f"gt_roidb has {len(roidb)} entries, the data set {len(sizes)} images{OF_A_CACHE}")
        labels = [np.asarray(entry["gt_classes"]) for entry in roidb]
        boxes = [np.asarray(entry["boxes"], np.float64).reshape(-1, 4) for entry in roidb]
        of_objects = np.concatenate([np.zeros(0, np.int64), *labels]) > 0
        images = np.repeat(np.arange(len(labels)), [len(each) for each in labels])
        return cls(np.concatenate([np.zeros((0, 4)), *boxes])[of_objects],
                   np.concatenate([np.zeros(0, np.int64), *labels])[of_objects],
                   images[of_objects], np.array(sizes, np.float64).reshape(-1, 2))

    def __len__(self) -> int:
        return len(self.boxes)

    def every(self, step: int) -> ObjectTable:
        """A subset of the objects: every step-th one."""
        return ObjectTable(self.boxes[::step], self.labels[::step], self.images[::step], self.im_sizes)

    def scaled(self, target_size: float, max_size: float) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (G, 4) and the sizes (G, 2) of their images, in pixels of the images as scaled for a net.

        target_size, max_size  see `im_scale_for`
        """
        factors = np.array([im_scale_for(height, width, target_size, max_size) for width, height in self.im_sizes])
        sizes = np.round(self.im_sizes * factors[:, None])
        return self.boxes * factors[self.images, None], sizes[self.images]
