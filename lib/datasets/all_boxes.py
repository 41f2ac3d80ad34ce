"""Detections of a whole data set, [class][image]: the file that stores them, and their evaluation by class name."""
from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets.class_names import ClassNames
from datasets.detection_files import EVALUATION
from datasets.evaluation import Evaluation
from datasets.imdb import imdb as Imdb
from utils.files import write_json
from utils.npz import read_npz, require_kinds, texts, write_npz

AllBoxes = list[list[np.ndarray]]      # [class][image], each (n, 5): x1, y1, x2, y2, score


# ---- the file
def save_detections(path: str | os.PathLike, all_boxes: Sequence[Sequence[np.ndarray]],
                    image_index: Sequence[str], classes: Sequence[str]) -> None:
    """Store detections [class][image] in an .npz file.

    It holds `dets` (n, 5) float32, ordered by class, then by image, `counts` (K, I), and the names `images` (I,) and
    `classes` (K,).
    """
    flat = [np.asarray(dets, np.float32).reshape(-1, 5) for images in all_boxes for dets in images]
    counts = np.array([len(dets) for dets in flat], np.int64).reshape(len(classes), len(image_index))
    write_npz(path, dets=np.concatenate([np.zeros((0, 5), np.float32), *flat]), counts=counts,
              images=texts(image_index), classes=texts(classes))


def stored_classes(path: str | os.PathLike) -> tuple[str, ...]:
    """The class names in a file written by `save_detections`. Raises ValueError for any other file."""
    return tuple(read_npz(path, "detections", "classes")[0].tolist())


def stored_images(path: str | os.PathLike) -> list[str]:
    """The image names in a file written by `save_detections`. Raises ValueError for any other file."""
    return list(read_npz(path, "detections", "images")[0].tolist())


def load_detections(path: str | os.PathLike, image_index: Sequence[str] | None = None,
                    classes: Sequence[str] | None = None) -> AllBoxes:
    """Load detections [class][image] from a file written by `save_detections`.

    Raises ValueError for any other file, or if its images or classes, or their order, differ from the given ones.
    """
    dets, counts, images, names = read_npz(path, "detections", "dets", "counts", "images", "classes")
    require_kinds(path, "detections", dets=(dets, "f"), counts=(counts, "iu"), images=(images, "U"),
                  classes=(names, "U"))
    if counts.shape != (*names.shape, *images.shape) or np.any(counts < 0) or dets.shape != (counts.sum(), 5):
        raise ValueError(f"{path}: not a file of detections: dets {dets.shape}, counts {counts.shape} of "
                         f"{counts.sum()} rows, images {images.shape}, classes {names.shape} do not fit together")
    for what, wanted, found in (("images", image_index, images), ("classes", classes, names)):
        if wanted is not None and list(wanted) != found.tolist():
            raise ValueError(f"{path}: its {len(found)} {what} are not the {len(wanted)} of this data set: "
                             "run the test again")
    parts = iter(np.split(dets, np.cumsum(counts)[:-1]))
    return [[next(parts) for _ in images] for _ in names]


# ---- evaluation
def evaluate_by_name(imdb: Imdb, all_boxes: AllBoxes, classes: Sequence[str], output_dir: str | os.PathLike) -> Any:
    """Evaluate detections [class][image] of a detector with these class names, by imdb.evaluate_detections.

    An `Evaluation` is also written to output_dir/evaluation.json (see `Evaluation.as_json`). Classes that the data set
    or the detector lacks are reported and not evaluated. Names may differ in case. Returns the evaluation.
    """
    result = _evaluated(imdb, all_boxes, classes, output_dir)
    if isinstance(result, Evaluation):
        write_json(Path(output_dir, EVALUATION), result.as_json())
    return result


def _evaluated(imdb: Imdb, all_boxes: AllBoxes, classes: Sequence[str], output_dir: str | os.PathLike) -> Any:
    if tuple(imdb.classes) == tuple(classes):
        return imdb.evaluate_detections(all_boxes, os.fspath(output_dir))
    find = ClassNames(classes).find
    missing = [name for name in imdb.classes if find(name) not in classes]
    unasked = sorted({*classes} - {find(name) for name in imdb.classes})
    if missing:
        print(f"not evaluated, the detector has no such classes: {', '.join(missing)}", flush=True)
    if unasked:
        print(f"not evaluated, the data set has no such classes: {', '.join(unasked)}", flush=True)
    result = imdb.evaluate_detections(in_classes_of(imdb, all_boxes, classes), os.fspath(output_dir))
    if isinstance(result, Evaluation):
        result = Evaluation({name: found for name, found in result.classes.items() if name not in missing})
    return result


def in_classes_of(imdb: Imdb, all_boxes: Sequence[Sequence[np.ndarray]], classes: Sequence[str]) -> AllBoxes:
    """Reorder detections [class][image] of a detector with these class names by the classes of a data set.

    Names may differ in case; classes that the detector lacks have no detections.
    """
    of_class, find = dict(zip(classes, all_boxes, strict=True)), ClassNames(classes).find
    none = [np.zeros((0, 5), np.float32)] * imdb.num_images
    return [list(of_class.get(find(name), none)) for name in imdb.classes]
