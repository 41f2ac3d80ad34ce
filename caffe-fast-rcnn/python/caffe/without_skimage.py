"""Replacements for the scikit-image functions that scripts use through `caffe.io.skimage`, if it is not installed.

The names are the same: `skimage.io.imread`, `skimage.img_as_float`, `skimage.transform.resize`.
"""
from __future__ import annotations

import os
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import io as caffe_io


def img_as_float(image: np.ndarray) -> np.ndarray:
    """Convert an image to floats: integers are divided by the largest value of their type, floats are unchanged."""
    array = np.asarray(image)
    if array.dtype == bool or array.dtype.kind == "f":
        return array.astype(float) if array.dtype == bool else array
    return array / np.iinfo(array.dtype).max


def imread(fname: str | os.PathLike, as_gray: bool = False, as_grey: bool = False) -> np.ndarray:
    """Read an image file: (height, width), or (height, width, channels) RGB or RGBA.

    as_gray  convert to (height, width), 0 to 1
    """
    if as_gray or as_grey:
        return caffe_io.load_image(fname, color=False)[:, :, 0].astype(float)
    image = caffe_io.read_pixels(fname)
    return image if image.ndim == 2 else image[:, :, [2, 1, 0, 3][:image.shape[2]]]


def resize(image: np.ndarray, output_shape: Sequence[int], order: int = 1, *,
           preserve_range: bool = False) -> np.ndarray:
    """Resize an image (height, width) or (height, width, channels) with `caffe.io.resize_image`; float64.

    output_shape    (height, width), or with the number of channels, which cannot change
    preserve_range  keep the range of integers, which otherwise becomes 0 to 1

    Raises ValueError if the number of channels would change, TypeError for other arguments of scikit-image.
    """
    array = np.asarray(image, float) if preserve_range else img_as_float(image)
    if array.ndim not in (2, 3) or tuple(output_shape[2:]) not in ((), array.shape[2:]):
        raise ValueError(f"resize: an image of shape {array.shape} cannot become {tuple(output_shape)}; "
                         "pip install scikit-image")
    planes = np.moveaxis(array.reshape(*array.shape[:2], -1, 1), 2, 0)
    resized = [caffe_io.resize_image(plane, tuple(output_shape[:2]), order) for plane in planes]
    return np.concatenate(resized, 2).reshape(*output_shape[:2], *array.shape[2:]).astype(float)


def __getattr__(name: str) -> Any:
    raise AttributeError(f"caffe.io.skimage has no '{name}' without the package scikit-image: pip install scikit-image")


io = SimpleNamespace(imread=imread)
transform = SimpleNamespace(resize=resize)
