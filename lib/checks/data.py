"""Warns about images in which no anchor fits: the region proposal network silently learns nothing from them."""
from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from caffe.proto.caffe_pb2 import TRAIN
from checks.net_file import NetFile
from rpn.generate_anchors import generate_anchors
from utils.blob import im_scale_for
from utils.layer_params import allowed_border, anchor_layout


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
    net = NetFile(net_path, TRAIN)
    layers = net.anchor_target_layers()
    if not layers or net.param_problems:
        return ""
    params = net.params(layers[0])
    stride, anchor_scales, ratios = anchor_layout(params)
    anchors = generate_anchors(ratios=ratios, scales=anchor_scales)
    small = {size for size in set(sizes)
             if not any(has_room(anchors, stride, *_scaled(size, scale, max_size), allowed_border(params))
                        for scale in scales)}
    count = sum(size in small for size in sizes)
    if not count:
        return ""
    width, height = min(small)
    least = (anchors[:, 2:] - anchors[:, :2] + 1).min(axis=0)
    return (f"Warning: {count} of {len(sizes)} images, such as those of {width} x {height} pixels, are too small or "
            f"too narrow for any anchor (at least {least[0]:g} pixels wide and {least[1]:g} high) at TRAIN.SCALES "
            f"{list(scales)} and TRAIN.MAX_SIZE {max_size}: the region proposal network learns nothing from them. "
            "Enlarge these settings, or make nets with smaller anchors (tools/make_models.py --scales)")


def _scaled(size: tuple[int, int], scale: int, max_size: int) -> tuple[float, float]:
    factor = im_scale_for(size[1], size[0], scale, max_size)
    return round(size[0] * factor), round(size[1] * factor)
