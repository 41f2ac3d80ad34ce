"""Records which RoIs hard example mining picks, in a sample of the training iterations.

`logs/hard_rois/<stage>.jsonl` has a line for each forward pass of the iterations drawn by `sampled_iterations`:

    {"iteration": 60, "pass": 118,
     "images": [{"file": ..., "flipped": false, "kept": 70, "loss": 0.53}, ...],    RoIs kept, their mean loss
     "classes": {"0": 90, "3": 38},                                                 RoIs kept by class
     "rois": [{"image": 0, "box": [x1, y1, x2, y2], "class": 3, "loss": 2.1, "iou": 0.62}, ...]}

`rois` are the MOST_ROIS of highest loss. Boxes are in pixels of the image file, even if it was flipped or cropped for
training; `class` is the label that is trained, 0 for the background; `iou` is the highest IoU with an object. The
iterations are drawn from the seed alone, so a resumed training records the same as an uninterrupted one.
"""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datasets.roidb import mirror_boxes
from fast_rcnn.config import Config
from fast_rcnn.hooks import Hook, Training
from utils import parallel
from utils.cython_bbox import bbox_overlaps
from utils.files import append_json_lines, read_json_lines, write_json_lines
from utils.other_caffe import Tensor
from utils.python_layer import TrainingMembers, layers_with, pass_number

HARD_ROIS = "hard_rois"     # folder beside the logs
MOST_ROIS = 16              # per forward pass


class Choice(NamedTuple):
    """The RoIs that a forward pass trains on, a row for each: arrays, or tensors on the device."""

    number: int     # of the pass, in this process
    losses: np.ndarray | Tensor     # (n,)
    rois: np.ndarray | Tensor       # (n, 5) image, x1, y1, x2, y2 in pixels of the scaled image
    labels: np.ndarray | Tensor     # (n,)


def gallery_hooks(log: Path | None, display: int, settings: Config) -> list[Hook]:
    """The hook that records hard RoIs beside a training's log.

    There is none without a log, with TRAIN.OHEM_GALLERY 0, and in all processes but the first.

    display   iterations between two lines of the log
    settings  cfg
    """
    if log is None or not settings.TRAIN.OHEM_GALLERY or not parallel.is_first():
        return []
    return [GalleryHook(log.parent / HARD_ROIS / log.name, settings.TRAIN.OHEM_GALLERY, settings.RNG_SEED,
                        (display, settings.TRAIN.SNAPSHOT_ITERS))]


class GalleryHook(Hook):
    """Records the choices of a net's `HardRoIMiner`, if it has one.

    path       JSON lines file to append to
    count      number of iterations to record
    seed       seed for drawing them
    intervals  values are fetched from the device and written only at multiples of one of these, where the log or a
               checkpoint waits for the device anyway, and when training ends
    """

    def __init__(self, path: str | os.PathLike, count: int, seed: int, intervals: Sequence[int]) -> None:
        self._path, self._count, self._seed, self._intervals = Path(path), count, seed, intervals
        self._pending: list[tuple[int, Choice]] = []
        self._miner: TrainingMembers | None = None

    def at_start(self, training: Training) -> None:
        miners, data = (layers_with(training.solver.net, member) for member in ("choices", "batch_scales"))
        if not (miners and data):
            return
        self._miner, self._data = miners[0], data[0]
        self._iterations = sampled_iterations(training.max_iters, self._count, self._seed)
        if self._path.exists():
            write_json_lines(self._path, [record for record in read_json_lines(self._path, iteration=int)
                                          if record["iteration"] <= training.iteration])
        training.contexts.callback(self._write)

    def before_iteration(self, training: Training) -> None:
        if self._miner is not None and training.iteration + 1 in self._iterations:
            self._miner.choices = []

    def after_iteration(self, training: Training) -> None:
        if self._miner is None:
            return
        self._pending += [(training.iteration, choice) for choice in self._miner.choices or []]
        self._miner.choices = None
        if any(training.iteration % interval == 0 for interval in self._intervals):
            self._write()

    def _write(self) -> None:
        """Write the pending records; if that fails, as on a full disk, they are dropped with a message."""
        pending, self._pending = self._pending, []
        if pending:
            try:
                append_json_lines(self._path, [self._record(*each) for each in pending])
            except OSError as error:
                print(f"{self._path}: {(error.strerror or '').lower()}: hard RoIs are not recorded", flush=True)

    def _record(self, iteration: int, choice: Choice) -> dict[str, Any]:
        number = pass_number(choice.number)
        return {"iteration": iteration, "pass": choice.number,
                **choice_record(self._data.batch_entries(number), self._data.batch_scales(number),
                                *map(_on_host, choice[1:]))}


def _on_host(values: np.ndarray | Tensor) -> np.ndarray:
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()


def sampled_iterations(max_iters: int, count: int, seed: int) -> frozenset[int]:
    """The iterations to record, `count` from 1 to max_iters, or all if there are no more.

    One is drawn from each of `count` equal parts; from the last part the last iteration is taken.
    """
    if count >= max_iters:
        return frozenset(range(1, max_iters + 1))
    edges = np.linspace(0, max_iters, count + 1).astype(int)
    drawn = np.random.default_rng([seed, 2]).integers(edges[:-1] + 1, edges[1:] + 1)
    return frozenset([*drawn[:-1].tolist(), max_iters])


def choice_record(entries: Sequence[Mapping[str, Any]], scales: Sequence[float], losses: np.ndarray, rois: np.ndarray,
                  labels: np.ndarray) -> dict[str, Any]:
    """The record of the RoIs chosen from a minibatch, without `iteration` and `pass`; see the module's docstring.

    entries, scales       of the minibatch's images
    losses, rois, labels  see `Choice`
    """
    images, labels = rois[:, 0].astype(int), labels.astype(int)
    boxes = rois[:, 1:] / np.asarray(scales, np.float32)[images, None]
    worst = np.argsort(-losses, kind="stable")[:MOST_ROIS]
    return {"images": [_image_record(entry, losses[images == index]) for index, entry in enumerate(entries)],
            "classes": {str(label): int(count) for label, count in enumerate(np.bincount(labels)) if count},
            "rois": [{"image": int(images[row]), "box": _stored(boxes[row], entries[images[row]]),
                      "class": int(labels[row]), "loss": round(float(losses[row]), 4),
                      "iou": _best_iou(boxes[row], entries[images[row]])} for row in worst]}


def _image_record(entry: Mapping[str, Any], losses: np.ndarray) -> dict[str, Any]:
    return {"file": entry["image"], "flipped": bool(entry["flipped"]), "kept": len(losses),
            "loss": round(float(losses.mean()), 4) if len(losses) else 0.0}


def _stored(box: np.ndarray, entry: Mapping[str, Any]) -> list[float]:
    """Map a box back to the image file, before cropping and flipping; rounded to 0.1 pixels."""
    left, top = entry.get("window", (0, 0))[:2]
    boxes = box.astype(np.float64)[None] + [left, top, left, top]
    if entry["flipped"]:
        boxes = mirror_boxes(boxes, entry["width"])
    if entry.get("upside_down"):
        boxes = mirror_boxes(boxes, entry["height"], axis=1)
    return [round(float(side), 1) for side in boxes[0]]


def _best_iou(box: np.ndarray, entry: Mapping[str, Any]) -> float:
    objects = entry["boxes"][np.asarray(entry["gt_classes"]) > 0]
    if not len(objects):
        return 0.0
    return round(float(bbox_overlaps(box[None].astype(objects.dtype), np.ascontiguousarray(objects)).max()), 3)
