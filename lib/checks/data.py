"""Warns about images in which no anchor fits, and about objects that no anchor or proposal matches.

The region proposal network silently learns nothing from the former and hardly finds the latter: only the anchor with
the highest IoU becomes a positive example of such an object, while all others around it, whose IoU is below
TRAIN.RPN_NEGATIVE_OVERLAP, are background.
"""
from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from caffe.proto.caffe_pb2 import TRAIN
from checks.net_file import NetFile
from datasets.imdb import imdb as Imdb
from datasets.objects import ObjectTable
from fast_rcnn.config import Config
from rpn.anchor_reach import AnchorLayout, best_overlaps, has_room
from utils.blob import im_scale_for
from utils.boxes import box_sizes

OUT_OF_REACH = (0.5, 0.7)       # further IoU thresholds for which objects are counted
_FEW = 0.1          # up to this fraction of objects out of reach there is no warning,
_MANY = 0.5         # unless it is more than this fraction of a class
_COUNTED = 10       # with at least this many objects
_CHUNK = 50_000     # objects processed at once, to limit memory


def data_warnings(net_path: str | os.PathLike, imdb: Imdb, train: Config, min_size: tuple[str, float],
                  command: str) -> list[str]:
    """Warnings about the data set on which a net is to be trained; see `object_size_warning`."""
    layout, sizes = train_anchors(net_path), imdb.image_sizes()
    if layout is None:
        return []
    objects = ObjectTable.from_roidb(imdb.gt_roidb(), sizes)
    found = [small_image_warning(layout, sizes, train.SCALES, train.MAX_SIZE),
             object_size_warning(layout, objects, imdb.classes, train, min_size, command)]
    return [warning for warning in found if warning]


def train_anchors(net_path: str | os.PathLike) -> AnchorLayout | None:
    """The anchors that a training net labels; None if it has none, or if their parameters are invalid."""
    net = NetFile(net_path, TRAIN)
    layers = net.anchor_target_layers()
    return AnchorLayout.from_params(net.params(layers[0])) if layers and not net.param_problems else None


def small_image_warning(layout: AnchorLayout, sizes: Sequence[tuple[int, int]], scales: Sequence[int],
                        max_size: int) -> str:
    """A warning about images that are too small for every anchor; '' if there are none.

    sizes   (width, height) of each image; scales, max_size  from cfg.TRAIN
    """
    small = {size for size in set(sizes)
             if not any(has_room(layout, *_scaled(size, scale, max_size)) for scale in scales)}
    count = sum(size in small for size in sizes)
    if not count:
        return ""
    width, height = min(small)
    least = box_sizes(layout.anchors).min(axis=0)
    return (f"Warning: {count} of {len(sizes)} images, such as those of {width} x {height} pixels, are too small or "
            f"too narrow for any anchor (at least {least[0]:g} pixels wide and {least[1]:g} high) at TRAIN.SCALES "
            f"{list(scales)} and TRAIN.MAX_SIZE {max_size}: the region proposal network learns nothing from them. "
            "Enlarge these settings, or make nets with smaller anchors (tools/make_models.py --scales)")


def object_size_warning(layout: AnchorLayout, objects: ObjectTable, classes: Sequence[str], train: Config,
                        min_size: tuple[str, float], command: str) -> str:
    """A warning if many objects are out of reach of the anchors or of the proposals; else ''.

    An object is out of reach of the anchors if its IoU with every anchor in the image is below
    TRAIN.RPN_NEGATIVE_OVERLAP at all training scales. "Many" is more than a tenth of all objects, or more than half of
    a class with at least ten. Proposals with a side shorter than `min_size` are dropped.

    classes   names, background first
    train     cfg.TRAIN
    min_size  name and value of the setting for the minimum side of a proposal, in pixels of the original image
    command   command line that shows the statistics and suggests better anchors
    """
    count = len(objects)
    if not count:
        return ""
    overlaps = anchor_overlaps(objects, layout, train.SCALES, train.MAX_SIZE)
    parts = [_anchor_part(overlaps, layout, objects, classes, train, command)]
    dropped = np.count_nonzero(box_sizes(objects.boxes).min(axis=1) < min_size[1])
    if dropped > count * _FEW:
        parts.append(f"{dropped} of {count} objects have a side shorter than {min_size[0]} {min_size[1]:g}, and "
                     "proposals of that size are dropped: lower this setting")
    return "\n".join(f"Warning: {part}" for part in parts if part)


def anchor_overlaps(objects: ObjectTable, layout: AnchorLayout, scales: Sequence[int], max_size: int) -> np.ndarray:
    """(G,) highest IoU of each object with an anchor in the image, at the best of the training scales."""
    best = np.zeros(len(objects), np.float32)
    for scale in scales:
        boxes, im_sizes = objects.scaled(scale, max_size)
        for start in range(0, len(boxes), _CHUNK):
            part = slice(start, start + _CHUNK)
            overlaps = best_overlaps(boxes[part], im_sizes[part], layout)
            best[part] = np.maximum(best[part], overlaps.max(axis=1))
    return best


def _anchor_part(overlaps: np.ndarray, layout: AnchorLayout, objects: ObjectTable, classes: Sequence[str],
                 train: Config, command: str) -> str:
    count, missed = len(overlaps), overlaps < train.RPN_NEGATIVE_OVERLAP
    totals = np.bincount(objects.labels, minlength=len(classes))
    shares = np.bincount(objects.labels[missed], minlength=len(classes)) / np.maximum(totals, 1)
    if missed.sum() <= count * _FEW and not (shares[totals >= _COUNTED] > _MANY).any():
        return ""
    sides = box_sizes(layout.anchors)
    least, most = sides.min(axis=0), sides.max(axis=0)
    worst = int(shares.argmax())
    of_class = ("" if len(classes) == 2 else f" The most are {classes[worst]}: {round(shares[worst] * totals[worst])} "
                f"of {totals[worst]}.")
    further = " and ".join(f"{np.count_nonzero(overlaps < limit)} at an IoU of {limit:g}" for limit in OUT_OF_REACH)
    return (f"{missed.sum()} of {count} objects overlap every anchor (from {least[0]:g} x {least[1]:g} to "
            f"{most[0]:g} x {most[1]:g} pixels) by less than TRAIN.RPN_NEGATIVE_OVERLAP {train.RPN_NEGATIVE_OVERLAP:g} "
            f"at TRAIN.SCALES {list(train.SCALES)} and TRAIN.MAX_SIZE {train.MAX_SIZE}: they will hardly be found."
            f"{of_class} No anchor reaches {further}. Better anchors and settings: {command}")


def _scaled(size: tuple[int, int], scale: int, max_size: int) -> tuple[float, float]:
    factor = im_scale_for(size[1], size[0], scale, max_size)
    return round(size[0] * factor), round(size[1] * factor)
