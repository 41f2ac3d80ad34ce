"""Detections of a data set: the file that keeps them.

They are nested lists [class][image] of arrays (n, 5): x1, y1, x2, y2 in image pixels, score.
"""
from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from utils.npz import read_npz, texts, write_npz

Detections = list[list[np.ndarray]]


def save_detections(path: str | os.PathLike, all_boxes: Sequence[Sequence[np.ndarray]],
                    image_index: Sequence[str], classes: Sequence[str]) -> None:
    """Store detections [class][image] in an .npz file.

    It holds `dets` (n, 5) float32, class after class and in it image after image, `counts` (K, I), and the
    names `images` (I,) and `classes` (K,).
    """
    flat = [np.asarray(dets, np.float32).reshape(-1, 5) for images in all_boxes for dets in images]
    counts = np.array([len(dets) for dets in flat], np.int64).reshape(len(classes), len(image_index))
    write_npz(path, dets=np.concatenate([np.zeros((0, 5), np.float32), *flat]), counts=counts,
              images=texts(image_index), classes=texts(classes))


def load_detections(path: str | os.PathLike, image_index: Sequence[str] | None = None,
                    classes: Sequence[str] | None = None) -> Detections:
    """Detections [class][image] from a file of `save_detections`.

    Raises ValueError if it is no such file, or if its images or classes are not the given ones in order.
    """
    dets, counts, images, names = read_npz(path, "detections", "dets", "counts", "images", "classes")
    for what, wanted, found in (("images", image_index, images), ("classes", classes, names)):
        if wanted is not None and list(wanted) != found.tolist():
            raise ValueError(f"{path}: its {len(found)} {what} are not the {len(wanted)} of this data set: "
                             "run the test again")
    parts = iter(np.split(dets, np.cumsum(counts)[:-1]))
    return [[next(parts) for _ in images] for _ in names]
