"""Resizing of images by SSD's resize_param."""
from __future__ import annotations

import random

import cv2
import numpy as np

from ...proto import caffe_pb2
from ..blob import checked_shape
from ..layer import Layer

_Param = caffe_pb2.ResizeParameter
_INTERPOLATIONS = {_Param.LINEAR: cv2.INTER_LINEAR, _Param.AREA: cv2.INTER_AREA, _Param.NEAREST: cv2.INTER_NEAREST,
                   _Param.CUBIC: cv2.INTER_CUBIC, _Param.LANCZOS4: cv2.INTER_LANCZOS4}
_BORDERS = {_Param.CONSTANT: cv2.BORDER_CONSTANT, _Param.MIRRORED: cv2.BORDER_REFLECT_101,
            _Param.REPEAT_NEAREST: cv2.BORDER_REPLICATE}


def check_resize(layer: Layer, param: caffe_pb2.ResizeParameter) -> None:
    """Raise LayerError if height or width is not set, BlobError if the size is too large."""
    if min(param.height, param.width) < 1:
        layer.fail(f"resize_param: set height and width, at least 1; found {param.height} and {param.width}")
    checked_shape((3, param.height, param.width))


def resized_size(height: int, width: int, param: caffe_pb2.ResizeParameter) -> tuple[int, int]:
    """The (height, width) of a resized image."""
    is_padded = param.resize_mode == _Param.FIT_LARGE_SIZE_AND_PAD
    return (param.height, param.width) if is_padded else _size_of_content(height, width, param)


def _size_of_content(height: int, width: int, param: caffe_pb2.ResizeParameter) -> tuple[int, int]:
    """The (height, width) of the resized image before padding, at least 1; computed in float32, as in SSD."""
    if param.resize_mode == _Param.WARP:
        return param.height, param.width
    aspect, wanted = np.float32(width) / np.float32(height), np.float32(param.width) / np.float32(param.height)
    if aspect < wanted if param.resize_mode == _Param.FIT_SMALL_SIZE else aspect > wanted:
        return max(1, int(np.float32(param.width) / aspect)), param.width
    return param.height, max(1, int(aspect * np.float32(param.height)))


def resized_window(height: int, width: int, param: caffe_pb2.ResizeParameter) -> np.ndarray:
    """The window that a resized image shows: x1, y1, x2, y2 normalised by the original; beyond 0..1 with padding."""
    if param.resize_mode != _Param.FIT_LARGE_SIZE_AND_PAD:
        return np.array([0.0, 0, 1, 1])
    aspect, wanted = width / height, param.width / param.height
    halves = np.maximum([wanted / aspect, aspect / wanted], 1) / 2
    return np.concatenate([0.5 - halves, 0.5 + halves])


def resized(layer: Layer, image: np.ndarray, param: caffe_pb2.ResizeParameter, source: random.Random) -> np.ndarray:
    """Resize an image (H, W, C). Raises LayerError if OpenCV cannot."""
    rows, columns, channels = image.shape
    height, width = _size_of_content(rows, columns, param)
    checked_shape((channels, height, width))
    modes = list(param.interp_mode) or [_Param.LINEAR]
    try:
        found = cv2.resize(image, (width, height), interpolation=_INTERPOLATIONS[source.choice(modes)])
        if (height, width) != resized_size(rows, columns, param):
            found = _padded(found, param.height - height, param.width - width, param, _fill(layer, image, param))
    except cv2.error as error:
        layer.fail(f"cannot resize an image of {columns} x {rows} pixels and {channels} channels: {error.err}")
    return found.reshape(*found.shape[:2], -1)


def _padded(image: np.ndarray, rows: int, columns: int, param: caffe_pb2.ResizeParameter, fill: list[float]
            ) -> np.ndarray:
    """The image padded by this many rows and columns, half of them on each side."""
    top, left = rows // 2, columns // 2
    return cv2.copyMakeBorder(image, top, rows - top, left, columns - left, _BORDERS[param.pad_mode], value=fill)


def _fill(layer: Layer, image: np.ndarray, param: caffe_pb2.ResizeParameter) -> list[float]:
    values = list(param.pad_value) or [0.0]
    if len(values) not in (1, image.shape[2]):
        layer.fail(f"resize_param: expected one pad_value, or one for each of {image.shape[2]} channels, found "
                   f"{len(values)}")
    return values * (image.shape[2] if len(values) == 1 else 1)
