"""Random crops for training, which hardly cut objects, and the roidb entries of the crops.

The entry of a crop has `window`: x1, y1, x2, y2, the crop's first and last pixels in the image after flipping. Its
boxes are in coordinates of the crop; `width` and `height` remain those of the whole image.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datasets.ds_utils import covered_shares
from datasets.lazy_roidb import as_dict
from datasets.roidb import Entry, merge_entries, objects_entry, proposals_entry
from fast_rcnn.bbox_transform import clip_boxes
from fast_rcnn.config import ConfigError
from utils.boxes import box_areas

KEPT = 0.6      # minimum share of an object or proposal inside the crop; other objects are entirely outside
_DRAWS = 10

Window = tuple[int, int, int, int]


def crop_entries(roidb: Sequence[Entry], crop: float, rng: np.random.Generator) -> Sequence[Entry]:
    """Crop the entries at random, see `draw_window`; images without objects stay whole.

    With a `crop` of 0 the roidb is returned as it is, and `rng` is not used.
    """
    return [_random_crop(as_dict(entry), crop, rng) for entry in roidb] if crop else roidb


def _random_crop(entry: Entry, crop: float, rng: np.random.Generator) -> Entry:
    objects = entry["boxes"][entry["gt_classes"] > 0]
    if not len(objects):
        return entry
    return crop_entry(entry, draw_window(objects, entry["width"], entry["height"], crop, rng))


def draw_window(objects: np.ndarray, width: int, height: int, crop: float, rng: np.random.Generator) -> Window:
    """Draw a window of an image with at least one object, and with at least KEPT or nothing of each object.

    Each side is 1 - crop .. 1 of the image's, and the window contains the centre of a random object. A window that cuts
    objects is enlarged, see `grow_window`: of up to ten windows the one that grows least is used.

    objects  (N, 4), N > 0
    """
    objects = clip_boxes(objects, (height, width))
    best, least = np.array([0, 0, width - 1, height - 1]), np.inf
    for _ in range(_DRAWS):
        drawn = _draw_around(objects[rng.integers(len(objects))], np.array([width, height]), crop, rng)
        grown = grow_window(drawn, objects)
        growth = box_areas(grown) / box_areas(drawn)
        if growth < least:
            best, least = grown, growth
        if growth == 1:
            break
    x1, y1, x2, y2 = best.tolist()
    return x1, y1, x2, y2


def _draw_around(box: np.ndarray, size: np.ndarray, crop: float, rng: np.random.Generator) -> np.ndarray:
    """A random window that contains the centre of a box; `size` is the image's width and height, (2,)."""
    extent = np.maximum(np.rint(size * rng.uniform(1 - crop, 1, 2)), 1).astype(int)
    centre = ((box[:2] + box[2:]) // 2).astype(int)
    first = rng.integers(np.maximum(centre - extent + 1, 0), np.minimum(centre, size - extent) + 1)
    return np.concatenate([first, first + extent - 1])


def grow_window(window: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Enlarge a window (4,) to contain every object (N, 4) of which more than nothing but less than KEPT is inside."""
    while True:
        shares = covered_shares(objects, window[None])
        cut = objects[(shares > 0) & (shares < KEPT)]
        if not len(cut):
            return window
        window = np.concatenate([np.minimum(window[:2], np.floor(cut[:, :2]).min(axis=0)),
                                 np.maximum(window[2:], np.ceil(cut[:, 2:]).max(axis=0))]).astype(int)


def crop_entry(entry: Mapping[str, Any], window: Window) -> Entry:
    """The entry of a crop.

    Objects and proposals with at least KEPT of their area in the window are shifted and clipped, the others dropped.
    Ignored boxes are shifted and clipped, and dropped if they lie outside. Labels of proposals and regression targets
    are recomputed from the clipped boxes.
    Raises ConfigError if there are regression targets, but no `target_rule` to recompute them.
    """
    whole = clip_boxes(entry["boxes"], (entry["height"], entry["width"]))
    stays = covered_shares(whole, np.array([window])) >= KEPT
    is_object = entry["gt_classes"] > 0
    boxes = _moved(whole, window)
    objects = objects_entry(boxes[stays & is_object], entry["gt_classes"][stays & is_object])
    cropped = {**entry, **merge_entries(objects, proposals_entry(boxes[stays & ~is_object], objects)),
               "flipped": entry["flipped"], "window": window}
    if "ignored" in entry:
        left = covered_shares(entry["ignored"], np.array([window])) > 0
        cropped["ignored"] = _moved(entry["ignored"][left], window)
    if "bbox_targets" in entry:
        if "target_rule" not in entry:
            raise ConfigError(f"{entry['image']}: TRAIN.CROP needs the rule of its regression targets: set TRAIN.CROP "
                              "before add_bbox_regression_targets adds them")
        cropped["bbox_targets"] = entry["target_rule"].targets(cropped)
    return cropped


def size_seen(entry: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of the part of an image that is trained on: the crop, or the whole image."""
    if "window" not in entry:
        return entry["height"], entry["width"]
    x1, y1, x2, y2 = entry["window"]
    return y2 - y1 + 1, x2 - x1 + 1


def _moved(boxes: np.ndarray, window: Window) -> np.ndarray:
    """Shift boxes (N, 4) from the image to the crop, and clip them."""
    x1, y1, x2, y2 = window
    return clip_boxes(boxes - np.array([x1, y1, x1, y1], boxes.dtype), (y2 - y1 + 1, x2 - x1 + 1))
