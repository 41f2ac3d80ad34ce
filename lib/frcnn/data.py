"""Data sets: their size, their classes, and images with annotated boxes."""
from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from commands.data_set import find_imdb
from commands.options import check_count
from datasets.class_names import with_background
from frcnn.errors import one_exception
from frcnn.pictures import Picture
from utils.draw import LabelledBox, class_colour, draw_boxes, montage
from utils.images import read_image


class Dataset:
    """Images with annotated objects.

    location  name or path, optionally with a split: 'data/mine:train'
    classes   class names, without the background
    """

    @one_exception
    def __init__(self, location: str | os.PathLike, classes: Sequence[str] | None = None) -> None:
        """Find the data set as --imdb does, and match its objects to `classes` if given. Raises UserError."""
        self.location = os.fspath(location)
        self.imdb = find_imdb(self.location, "Dataset", with_background(classes) if classes else None)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.imdb.classes[1:]

    def __len__(self) -> int:
        return self.imdb.num_images

    @one_exception
    def draw(self, index: int) -> Picture:
        """Draw the annotated boxes of an image into it."""
        entry, names = self.imdb.gt_roidb()[index], self.imdb.classes
        boxes = [LabelledBox(box, names[number], class_colour(number))
                 for box, number in zip(np.asarray(entry["boxes"]), entry["gt_classes"], strict=True)]
        return Picture(draw_boxes(read_image(self.imdb.image_path_at(index)), boxes))

    @one_exception
    def show(self, count: int = 9, seed: int = 0) -> Picture:
        """Draw a contact sheet of `count` random images (all if there are fewer) with their boxes.

        Raises UserError if `count` is not a number above 0.
        """
        count = check_count(count, 1, "count")
        chosen = np.random.default_rng(seed).choice(len(self), min(count, len(self)), replace=False)
        return Picture(montage([self.draw(index) for index in sorted(chosen.tolist())]))

    def __repr__(self) -> str:
        return self.imdb.summary()
