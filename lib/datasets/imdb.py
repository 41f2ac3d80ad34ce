"""The base class of all data sets: images with annotated objects, and their roidb for training."""
from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datasets.average_precision import Objects
from datasets.evaluation import Evaluation
from datasets.image_size import image_size
from datasets.lazy_roidb import merged_roidb, mirrored_roidb, proposals_roidb, with_proposals
from datasets.problems import Problem
from datasets.proposals_file import load_proposals
from datasets.recall import evaluate_recall
from datasets.roidb import Entry
from datasets.source import DatasetError
from fast_rcnn.config import cfg
from utils.timer import with_progress


class imdb:
    """A list of images with annotated objects.

    A custom data set derives from it, sets `image_index`, and implements `image_path_at`, `gt_roidb` and
    `evaluate_detections`. Entries of a roidb are described in datasets/roidb.py. Classes written for
    py-faster-rcnn, which set `_classes`, `_image_index` and `_roidb_handler`, work unchanged.

    name         used for output folders
    classes      names, background first
    image_index  name of each image; append_flipped_images repeats the names
    config       'rpn_file': the file of proposals that the proposal method 'rpn' reads
    """

    def __init__(self, name: str, classes: Sequence[str] = ()):
        self.name = name
        self._classes: Sequence[str] = tuple(classes)
        self._image_index: list[str] = []
        self.config: dict[str, Any] = {"rpn_file": None}
        self._roidb: list[Entry] | None = None
        self._roidb_handler: Callable[[], list[Entry]] | None = None
        self._size_of: dict[str, tuple[int, int]] = {}      # by path

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self._classes)

    @classes.setter
    def classes(self, names: Sequence[str]) -> None:
        self._classes = tuple(names)

    @property
    def image_index(self) -> list[str]:
        return self._image_index

    @image_index.setter
    def image_index(self, names: list[str]) -> None:
        self._image_index = names

    @property
    def roidb_handler(self) -> Callable[[], list[Entry]]:
        """The function that builds the roidb; set by `set_proposal_method`."""
        return self._roidb_handler or self.gt_roidb

    @roidb_handler.setter
    def roidb_handler(self, handler: Callable[[], list[Entry]]) -> None:
        self._roidb_handler, self._roidb = handler, None

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def num_images(self) -> int:
        return len(self.image_index)

    @property
    def roidb(self) -> list[Entry]:
        """One entry per image, by the proposal method; built on first access."""
        if self._roidb is None:
            self._roidb = self.roidb_handler()
        return self._roidb

    def set_proposal_method(self, method: str) -> None:
        """Choose the source of proposals: 'gt' (objects only), 'rpn' (config['rpn_file']) or 'selective_search'.

        A data set has other ones if it has methods <name>_roidb.
        """
        self.roidb_handler = self._handler(method)

    def _handler(self, method: str) -> Callable[[], list[Entry]]:
        handler = getattr(self, f"{method}_roidb", None)
        if handler is None:
            known = sorted(name[:-len("_roidb")] for name in dir(type(self)) if re.fullmatch(r"[^_]\w*_roidb", name))
            raise ValueError(f"{self.name} has no proposals {method!r}: choose one of {', '.join(known)}")
        return handler

    @property
    def is_annotated(self) -> bool:
        """Whether it has annotations; images without any can be tested on, but not evaluated or trained on."""
        return True

    def use_classes(self, names: Sequence[str]) -> None:
        """Match the annotated objects to these class names, background first, instead of the data set's own.

        A data set that does not support this keeps its own classes.
        """

    def other_classes(self, names: Sequence[str]) -> list[str]:
        """The classes of the annotated objects if none of them is in `names`, else []; also [] without objects."""
        known = {name.lower() for name in names}
        return [] if any(name.lower() in known for name in self.classes[1:]) else sorted(self.classes[1:])

    @property
    def location(self) -> str:
        """What distinguishes the data set from others of the same name: its path and split, if any."""
        return self.name

    @property
    def cache_path(self) -> str:
        """The folder data/cache, created if missing, for what a custom data set stores."""
        folder = Path(cfg.DATA_DIR, "cache").absolute()
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def competition_mode(self, on: bool) -> None:
        """Called before an evaluation, with whether `--comp` was given; custom data sets may name their files by it."""

    def image_path_at(self, i: int) -> str:
        """File of image i."""
        raise NotImplementedError

    def gt_roidb(self) -> list[Entry]:
        """Entries of the annotated objects: dictionaries or, to save memory, those of `lazy_roidb.objects_roidb`."""
        raise NotImplementedError

    def rpn_roidb(self) -> list[Entry]:
        """Entries of the objects, and the proposals in config['rpn_file']."""
        if not self.config.get("rpn_file"):
            raise ValueError(f"{self.name}: config['rpn_file'] names no file of proposals")
        boxes, _ = load_proposals(self.config["rpn_file"], self.image_index)
        return self.with_proposals(boxes)

    def with_proposals(self, box_list: Sequence[np.ndarray]) -> list[Entry]:
        """Entries of the objects followed by proposals, one array (N, 4) per image."""
        self._check_number(box_list)
        return with_proposals(self.gt_roidb(), box_list)

    def create_roidb_from_box_list(self, box_list: Sequence[np.ndarray],
                                   gt_roidb: Sequence[Entry] | None) -> list[Entry]:
        """Entries of proposals only; without gt_roidb their overlaps are 0."""
        self._check_number(box_list)
        return proposals_roidb(box_list, gt_roidb)

    def _check_number(self, box_list: Sequence[np.ndarray]) -> None:
        if len(box_list) != self.num_images:
            raise ValueError(f"{self.name} has {self.num_images} images, proposals are for {len(box_list)}")

    @staticmethod
    def merge_roidbs(a: Sequence[Entry], b: Sequence[Entry]) -> list[Entry]:
        """Join the RoIs of two roidbs image by image, as new entries."""
        return merged_roidb(a, b)

    def validate(self) -> list[Problem]:
        """Problems in the files, and how they are handled; raises if training is impossible."""
        return []

    def leave_out(self, files: Collection[str]) -> None:
        """Leave out the images of these files, which cannot be decoded. To be called before the roidb is built.

        files  may be a mapping from each file to the reason
        Raises DatasetError if this data set does not support that, or nothing would be left.
        """
        if files:
            raise DatasetError(f"{self.name}: images that cannot be decoded: {', '.join(sorted(files))}")

    def summary(self) -> str:
        """A short description, in a few lines."""
        return f"{self.name}: {self.num_images} images, {self.num_classes - 1} classes"

    def image_sizes(self) -> list[tuple[int, int]]:
        """(width, height) of each image; each file is read once."""
        paths = [self.image_path_at(index) for index in range(self.num_images)]
        new = list(dict.fromkeys(path for path in paths if path not in self._size_of))
        for path in with_progress("image sizes", new):
            self._size_of[path] = image_size(path)
        return [self._size_of[path] for path in paths]

    def append_flipped_images(self) -> None:
        """Append a mirrored copy (left to right) of every image."""
        widths = np.array([width for width, _ in self.image_sizes()], np.int64)
        self._roidb = [*self.roidb, *mirrored_roidb(self.roidb, widths)]
        self.image_index = self.image_index * 2

    def objects_of_class(self, name: str) -> dict[str, Objects]:
        """The ground truth of a class, by image name."""
        raise NotImplementedError

    def evaluate_detections(self, all_boxes: Sequence[Sequence[np.ndarray]],
                            output_dir: str | os.PathLike) -> Evaluation:
        """Evaluate all_boxes[class][image], (N, 5) arrays x1, y1, x2, y2, score, and write them to `output_dir`."""
        raise NotImplementedError

    def evaluate_recall(self, candidate_boxes: Sequence[np.ndarray] | None = None,
                        thresholds: np.ndarray | None = None, area: str = "all",
                        limit: int | None = None) -> dict[str, np.ndarray | float]:
        """Recall of objects by proposals: see datasets/recall.py."""
        return evaluate_recall(self.roidb, candidate_boxes, thresholds, area, limit)
