"""Pictures of training images with the augmentation of the settings."""
from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from datasets.imdb import imdb as Imdb
from datasets.roidb import Entry, mirror, turn_over
from fast_rcnn.config import Config
from reports.pictures import Box, picture_of
from roi_data_layer.minibatch import Blobs, MinibatchSettings, get_minibatch
from roi_data_layer.roidb import prepare_roidb
from utils.draw import class_colour
from utils.images import ImageError

_PASSES = 3     # pictures per image
_HEIGHT = 190   # pixels of the tallest picture
_IGNORED = (150, 150, 150)


def augmentation_in_words(train: Config) -> str:
    """The augmentation of these settings of TRAIN, 'TRAIN.CROP 0.4, TRAIN.SCALE_JITTER 0.25'; '' if there is none.

    Horizontal flips alone, the default, do not count.
    """
    names = ["USE_UPSIDE_DOWN", "CROP", *["SCALES"] * (len(train.SCALES) > 1), "SCALE_JITTER", "COLOUR_JITTER"]
    found = [name for name in names if train[name]]
    shown = ["USE_FLIPPED", *found] if found and train.USE_FLIPPED else found
    return ", ".join(f"TRAIN.{name} {list(value) if isinstance(value, tuple) else value}"
                     for name, value in ((name, train[name]) for name in shown))


def augmented_pictures(imdb: Imdb, chosen: Sequence[int], settings: Config) -> list[dict[str, str]]:
    """Pictures of some images in several passes each, drawn to the same scale; unreadable images are left out.

    chosen    indices of the images
    settings  a cfg tree
    """
    roidb = prepare_roidb(imdb)
    views = [view for index in chosen for view in _views(roidb[index], index, imdb.num_classes, settings)]
    tallest = max((blobs["data"].shape[2] for _, blobs in views), default=1)
    return [_picture(entry, blobs, settings, _HEIGHT / tallest) for entry, blobs in views]


def _views(entry: Entry, index: int, num_classes: int, settings: Config) -> Iterator[tuple[Entry, Blobs]]:
    """Yield the entry, perhaps flipped, and its minibatch for each pass."""
    minibatch = replace(MinibatchSettings.from_cfg(settings), has_rpn=True)
    for number in range(_PASSES):
        rng = np.random.default_rng([settings.RNG_SEED, index, number])
        turned = _turned(entry, settings.TRAIN, rng)
        try:
            yield turned, get_minibatch([turned], num_classes, minibatch, rng)
        except ImageError:      # the page reports it as a problem
            return


def _turned(entry: Entry, train: Config, rng: np.random.Generator) -> Entry:
    """The entry, randomly flipped in the ways that the settings allow."""
    flipped, upside_down = rng.integers(2, size=2)
    if train.USE_FLIPPED and flipped:
        entry = mirror(entry, entry["width"])
    if train.USE_UPSIDE_DOWN and upside_down:
        entry = turn_over(entry, entry["height"])
    return entry


def _picture(entry: Mapping[str, Any], blobs: Blobs, settings: Config, factor: float) -> dict[str, str]:
    pixels = blobs["data"][0].transpose(1, 2, 0) * settings.PIXEL_STDS[0] + settings.PIXEL_MEANS[0]
    image = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    boxes = [Box(row[:4], class_colour(int(row[4])) if row[4] > 0 else _IGNORED) for row in blobs["gt_boxes"]]
    words = [f"{image.shape[1]} x {image.shape[0]}"]
    words += ["mirrored"] * bool(entry["flipped"]) + ["upside down"] * bool(entry.get("upside_down"))
    return {"picture": picture_of(image, boxes, max(round(image.shape[0] * factor), 1)), "name": "",
            "note": ", ".join(words), "title": os.path.basename(entry["image"])}
