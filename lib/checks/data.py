"""Warns about images in which no anchor fits, and objects that no anchor or proposal resembles.

The region proposal network silently learns nothing from the former, and does not find the latter.
"""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from caffe.proto.caffe_pb2 import TRAIN
from checks.net_file import NetFile
from rpn.generate_anchors import generate_anchors
from utils.blob import im_scale_for
from utils.layer_params import Params, allowed_border, anchor_layout

_FEW = 0.1      # share of objects out of reach that is not reported


def has_room(anchors: np.ndarray, stride: float, width: float, height: float, border: float = 0) -> bool:
    """Whether any anchor at any cell of the feature map fits into the image.

    anchors  (A, 4) of the first cell
    border   pixels by which an anchor may extend beyond the image
    """
    first = np.ceil(np.maximum(-border - anchors[:, :2], 0) / stride)       # first cell far enough from 0
    size = np.array([width, height])
    fits = (first * stride + anchors[:, 2:] < size + border) & (first < np.ceil(size / stride))
    return bool(fits.all(axis=1).any())


def small_image_warning(net_path: str | os.PathLike, sizes: Sequence[tuple[int, int]], scales: Sequence[int],
                        max_size: int) -> str:
    """A warning about images that are too small for every anchor of a training net; '' if there are none.

    sizes   (width, height) of each image; scales, max_size  of cfg.TRAIN
    """
    params = _anchor_params(net_path)
    if params is None:
        return ""
    stride, anchors = anchor_layout(params)[0], _anchors(params)
    small = {size for size in set(sizes)
             if not any(has_room(anchors, stride, *_scaled(size, scale, max_size), allowed_border(params))
                        for scale in scales)}
    count = sum(size in small for size in sizes)
    if not count:
        return ""
    width, height = min(small)
    least = _sides(anchors).min(axis=0)
    return (f"Warning: {count} of {len(sizes)} images, such as those of {width} x {height} pixels, are too small or "
            f"too narrow for any anchor (at least {least[0]:g} pixels wide and {least[1]:g} high) at TRAIN.SCALES "
            f"{list(scales)} and TRAIN.MAX_SIZE {max_size}: the region proposal network learns nothing from them. "
            "Enlarge these settings, or make nets with smaller anchors (tools/make_models.py --scales)")


def object_size_warning(net_path: str | os.PathLike, sizes: Sequence[tuple[int, int]],
                        roidb: Sequence[Mapping[str, Any]], train: Any, min_size: tuple[str, float]) -> str:
    """A warning if more than a tenth of the objects are out of reach of the anchors or of the proposals; else ''.

    An anchor reaches an object if both, with one centre, overlap by at least TRAIN.RPN_NEGATIVE_OVERLAP at one of the
    training scales; proposals whose sides are shorter than `min_size` are dropped.

    sizes     (width, height) of each image; roidb  its objects in `boxes`
    train     cfg.TRAIN
    min_size  name and value of the setting for the smallest side of a proposal, in pixels of the original image
    """
    params = _anchor_params(net_path)
    objects = [_sides(np.asarray(entry["boxes"], np.float64)) for entry in roidb]
    count = sum(map(len, objects))
    if params is None or not count:
        return ""
    anchors = _sides(_anchors(params))
    reached = np.zeros(count, bool)
    for scale in train.SCALES:
        scaled = np.concatenate([sides * im_scale_for(height, width, scale, train.MAX_SIZE)
                                 for sides, (width, height) in zip(objects, sizes, strict=True)])
        reached |= _best_overlaps(scaled, anchors) >= train.RPN_NEGATIVE_OVERLAP
    dropped = np.concatenate(objects).min(axis=1) < min_size[1]
    parts = []
    if (~reached).sum() > count * _FEW:
        least, most = anchors.min(axis=0), anchors.max(axis=0)
        parts.append(f"{(~reached).sum()} of {count} objects overlap every anchor (from {least[0]:g} x {least[1]:g} to "
                     f"{most[0]:g} x {most[1]:g} pixels) by less than TRAIN.RPN_NEGATIVE_OVERLAP "
                     f"{train.RPN_NEGATIVE_OVERLAP:g} at TRAIN.SCALES {list(train.SCALES)} and TRAIN.MAX_SIZE "
                     f"{train.MAX_SIZE}: they will hardly be found. Make nets with anchors of their size "
                     "(tools/make_models.py --scales), or change these settings")
    if dropped.sum() > count * _FEW:
        parts.append(f"{dropped.sum()} of {count} objects have a side shorter than {min_size[0]} {min_size[1]:g}, and "
                     "proposals of that size are dropped: lower this setting")
    return "\n".join(f"Warning: {part}" for part in parts)


def _anchor_params(net_path: str | os.PathLike) -> Params | None:
    """The settings of a training net's anchors; None if it has none, or wrong ones."""
    net = NetFile(net_path, TRAIN)
    layers = net.anchor_target_layers()
    return net.params(layers[0]) if layers and not net.param_problems else None


def _anchors(params: Params) -> np.ndarray:
    _, scales, ratios = anchor_layout(params)
    return generate_anchors(ratios=ratios, scales=scales)


def _sides(boxes: np.ndarray) -> np.ndarray:
    """(width, height) of boxes (N, 4)."""
    return boxes[:, 2:] - boxes[:, :2] + 1


def _best_overlaps(objects: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """For each object (width, height) its largest IoU with an anchor of the same centre."""
    common = np.minimum(objects[:, None], anchors).prod(axis=2)
    union = objects.prod(axis=1)[:, None] + anchors.prod(axis=1) - common
    return (common / union).max(axis=1)


def _scaled(size: tuple[int, int], scale: int, max_size: int) -> tuple[float, float]:
    factor = im_scale_for(size[1], size[0], scale, max_size)
    return round(size[0] * factor), round(size[1] * factor)
