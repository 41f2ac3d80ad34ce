"""Random colour distortion of images, for training."""
from __future__ import annotations

import random

import cv2
import numpy as np

from ...proto import caffe_pb2
from ..layer import Layer

_HUE, _SATURATION = 0, 1        # channels of HSV


def check_distortion(layer: Layer, param: caffe_pb2.DistortionParameter) -> None:
    """Raise LayerError for settings out of range."""
    for name in ("brightness_delta", "hue_delta"):
        if getattr(param, name) < 0:
            layer.fail(f"distort_param: {name} must be at least 0, found {getattr(param, name):g}")
    for name in ("contrast", "saturation"):
        lower, upper = getattr(param, f"{name}_lower"), getattr(param, f"{name}_upper")
        if not 0 <= lower <= upper:
            layer.fail(f"distort_param: expected 0 <= {name}_lower <= {name}_upper, found {lower:g} and {upper:g}")


def distorted(image: np.ndarray, param: caffe_pb2.DistortionParameter, source: random.Random) -> np.ndarray:
    """An image (H, W, 3), uint8 BGR, with randomly distorted colours.

    Brightness, contrast, saturation, hue and channel order change in this sequence, each with its own probability; for
    half of the images, contrast changes after hue. Pixels, saturation and hue (0 to 180) are rounded and clipped to
    0..255.
    """
    contrast_is_late = source.random() < 0.5
    if source.random() < param.brightness_prob:
        image = _adjusted(image, 1, source.uniform(-param.brightness_delta, param.brightness_delta))
    if not contrast_is_late:
        image = _contrasted(image, param, source)
    if source.random() < param.saturation_prob:
        image = _in_hsv(image, _SATURATION, source.uniform(param.saturation_lower, param.saturation_upper), 0)
    if source.random() < param.hue_prob:
        image = _in_hsv(image, _HUE, 1, source.uniform(-param.hue_delta, param.hue_delta))
    if contrast_is_late:
        image = _contrasted(image, param, source)
    if source.random() < param.random_order_prob:
        image = image[..., source.sample(range(3), 3)]
    return image


def _contrasted(image: np.ndarray, param: caffe_pb2.DistortionParameter, source: random.Random) -> np.ndarray:
    if source.random() < param.contrast_prob:
        return _adjusted(image, source.uniform(param.contrast_lower, param.contrast_upper), 0)
    return image


def _adjusted(values: np.ndarray, factor: float, addend: float) -> np.ndarray:
    return cv2.LUT(values, np.rint(np.arange(256) * factor + addend).clip(0, 255).astype(np.uint8))


def _in_hsv(image: np.ndarray, channel: int, factor: float, addend: float) -> np.ndarray:
    converted = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    converted[..., channel] = _adjusted(np.ascontiguousarray(converted[..., channel]), factor, addend)
    return cv2.cvtColor(converted, cv2.COLOR_HSV2BGR)
