"""Files of proposals, which are memory-mapped for reading.

An .npz file holds `boxes` (n, 4) and `scores` (n,) float32, image after image, the `counts` (I,) of the images, and
their names `images` (I,).
"""
from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from utils.npz import Rows, map_npz, require_kinds, texts, write_npz
from utils.ragged import Ragged


def save_proposals(path: str | os.PathLike, boxes: Sequence[np.ndarray], scores: Sequence[np.ndarray],
                   image_index: Sequence[str]) -> None:
    """Store the proposals of each image, one image at a time: boxes (R, 4), scores (R,) or (R, 1)."""
    if not len(boxes) == len(scores) == len(image_index):
        raise ValueError(f"{len(boxes)} images of boxes, {len(scores)} of scores, {len(image_index)} names")
    all_boxes, all_scores = Rows(boxes, (4,), np.float32), Rows(scores, (), np.float32)
    if np.any(all_boxes.counts != all_scores.counts):
        raise ValueError(f"{all_boxes.counts.sum()} boxes, but {all_scores.counts.sum()} scores")
    write_npz(path, boxes=all_boxes, scores=all_scores, counts=all_boxes.counts, images=texts(image_index))


def load_proposals(path: str | os.PathLike, image_index: Sequence[str] | None = None) -> tuple[Ragged, Ragged]:
    """Boxes (R, 4) and scores (R,) of each image, read-only, from a file of `save_proposals`.

    They are views of the memory-mapped file, which is read on access.

    image_index  names of the images to load, in order; None: those of the file
    Raises ValueError if it is not a file of proposals, is damaged, or lacks an image.
    """
    boxes, scores, counts, images = map_npz(path, "proposals", "boxes", "scores", "counts", "images")
    require_kinds(path, "proposals", boxes=(boxes, "fiu"), scores=(scores, "fiu"), counts=(counts, "iu"),
                  images=(images, "U"))
    if boxes.shape != (*scores.shape, 4) or counts.shape != images.shape or counts.ndim != 1 or np.any(counts < 0) or (
            counts.sum() != len(boxes)):
        raise ValueError(f"{path}: not a file of proposals: boxes {boxes.shape}, scores {scores.shape}, counts "
                         f"{counts.shape} of {counts.sum()} rows, images {images.shape} do not fit together")
    found = Ragged(boxes, counts), Ragged(scores, counts)
    if image_index is None or list(image_index) == images.tolist():
        return found
    rows = _rows_of(image_index, images.tolist(), path)
    return found[0].take(rows), found[1].take(rows)


def _rows_of(image_index: Sequence[str], images: list[str], path: str | os.PathLike) -> np.ndarray:
    row_of = {name: row for row, name in enumerate(images)}
    if len(row_of) < len(images):
        raise ValueError(f"{path}: two of its images have the same name: generate proposals for this data set")
    missing = [name for name in image_index if name not in row_of]
    if missing:
        raise ValueError(f"{path}: no proposals for {len(missing)} of {len(image_index)} images, such as "
                         f"{missing[0]!r}: generate proposals for this data set")
    return np.array([row_of[name] for name in image_index], np.int64)
