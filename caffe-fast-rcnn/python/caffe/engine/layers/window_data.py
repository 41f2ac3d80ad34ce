"""WindowData: warped windows of images, the training data of the original R-CNN."""
from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from ...errors import WireError
from ...proto.layer_settings import MOVED_TO_TRANSFORM
from ..bases.image_files import read_image
from ..bases.images import FOR_OBJECTS, Transformer, planes, random_source, to_tensor
from ..layer import Layer, LayerError, register

_MOST = 2 ** 31 - 1     # class and corners, as in Caffe


class Window(NamedTuple):
    """A box in an image: class (0 for background) and inclusive pixel corners."""

    path: str
    label: int
    x1: int
    y1: int
    x2: int
    y2: int


@register("WindowData")
class WindowData(Layer):
    """Batches of randomly drawn windows: background first, then batch_size * fg_fraction of foreground.

    tops     images (batch_size, C, crop_size, crop_size), minus the mean, times window_data_param.scale; 0 where a
             window extends beyond its image; labels (batch_size)
    param    window_data_param: source (the window file), root_folder, batch_size, fg_threshold, bg_threshold,
             fg_fraction, context_pad (pixels of context around the window in the top), crop_mode warp or square;
             transform_param: crop_size, mirror, mean_file or mean_value

    For each image the window file has `# index`, the path, channels, height, width, the number of windows, and
    for each window `class overlap x1 y1 x2 y2`. Windows are foreground if their overlap is at least fg_threshold, and
    background if it is below bg_threshold. Girshick et al. 2014; source: src/caffe/layers/window_data_layer.cpp.
    """

    exact_bottoms = 0
    exact_tops = 2
    other_settings = ("transform_param",)
    unread_settings = ("transform_param.force_color", "transform_param.force_gray", "transform_param.scale",
                       "transform_param.resize_param", *FOR_OBJECTS, "window_data_param.cache_images",
                       *(f"window_data_param.{name}" for name in MOVED_TO_TRANSFORM if name != "scale"))

    def setup(self, bottom, top):
        param, self.size = self.param.window_data_param, self.param.transform_param.crop_size
        if min(self.size, param.batch_size) < 1:
            self.fail(f"transform_param.crop_size and batch_size must be at least 1, found {self.size} and "
                      f"{param.batch_size}")
        if param.crop_mode not in ("warp", "square") or 2 * param.context_pad >= self.size:
            self.fail(f"crop_mode must be warp or square, and context_pad below half of crop_size {self.size}; found "
                      f"'{param.crop_mode}' and {param.context_pad}")
        if not 0 <= param.fg_fraction <= 1:
            self.fail(f"fg_fraction must be within 0 and 1, found {param.fg_fraction}")
        self.random = random_source()
        self.mean = Transformer(self, self.random).mean
        self.foreground: list[Window] = []
        self.background: list[Window] = []
        self.channels = 3
        self._read_windows(param.source)
        self._check_mean()
        self.num_foreground = int(np.float32(param.batch_size) * np.float32(param.fg_fraction))
        for name, windows, count in (("foreground", self.foreground, self.num_foreground),
                                     ("background", self.background, param.batch_size - self.num_foreground)):
            if count and not windows:
                self.fail(f"'{param.source}' has no {name} window, but each batch needs {count}")
        top[0].reshape(param.batch_size, self.channels, self.size, self.size)
        top[1].reshape(param.batch_size)

    def _check_mean(self) -> None:
        if len(self.param.transform_param.mean_value) not in (0, 1, self.channels):
            self.fail(f"expected one mean_value, or one for each of {self.channels} channels")
        wanted = (self.channels, self.size, self.size)
        if self.mean is not None and (self.mean.shape[2] < self.size or self._mean().shape != wanted):
            self.fail(f"mean_file has the shape {self.mean.shape}: its crop, centred between left and right and as far "
                      f"from the top, must have the shape {wanted}")

    def _read_windows(self, source: str) -> None:
        try:
            with open(source, encoding="utf-8-sig", errors="surrogateescape") as file:
                words = iter(file.read().split())
        except OSError as error:
            self.fail(f"cannot read the window file '{source}': {error.strerror}")
        try:
            for mark in words:
                if mark != "#":
                    self.fail(f"{source}: expected `# index` of an image, found '{mark}'")
                next(words)
                path = self.param.window_data_param.root_folder + next(words)
                channels, _, _, count = [int(next(words)) for _ in range(4)]
                if channels != self.channels:
                    self.fail(f"{source}: '{path}' has {channels} channels, expected {self.channels}")
                for _ in range(count):
                    label, overlap, *corners = [next(words) for _ in range(6)]
                    self._sort(Window(path, int(label), *map(int, corners)), np.float32(overlap))
        except LayerError:
            raise
        except (ValueError, StopIteration) as error:
            self.fail(f"{source}: a number is missing or wrong ({error})")

    def _sort(self, window: Window, overlap: np.float32) -> None:
        param = self.param.window_data_param
        if overlap >= np.float32(param.fg_threshold):
            if window.label < 1:
                self.fail(f"{param.source}: a foreground window of '{window.path}' has the class {window.label}")
            self.foreground.append(self._checked(window))
        elif overlap < np.float32(param.bg_threshold):
            self.background.append(self._checked(window)._replace(label=0))

    def _checked(self, window: Window) -> Window:
        if max(map(abs, window[1:])) > _MOST or window.x1 > window.x2 or window.y1 > window.y2:
            self.fail(f"{self.param.window_data_param.source}: a window of '{window.path}' has the class "
                      f"{window.label} and the corners {window[2:]}")
        return window

    def reshape(self, bottom, top):
        """The shapes are set in setup."""

    def forward(self, bottom, top):
        count = self.param.window_data_param.batch_size
        drawn = [self.random.choice(self.background) for _ in range(count - self.num_foreground)]
        drawn += [self.random.choice(self.foreground) for _ in range(self.num_foreground)]
        top[0].tensor = to_tensor(np.stack([self._warped(window) for window in drawn]))
        top[1].tensor = to_tensor(np.array([window.label for window in drawn]))

    def _warped(self, window: Window) -> np.ndarray:
        """One item of the top, (C, crop_size, crop_size) float32."""
        mirror = self.param.transform_param.mirror and bool(self.random.randrange(2))
        try:
            image = read_image(window.path, color=True)
        except WireError as error:
            self.fail(f"{self.param.window_data_param.source}: {error}")
        (x1, y1, x2, y2), (width, height), (left, above) = self._placement(window, image.shape, mirror)
        rows, columns = image.shape[:2]
        if not (0 <= x1 <= x2 < columns and 0 <= y1 <= y2 < rows and min(width, height) > 0):
            self.fail(f"{self.param.window_data_param.source}: the window {window[2:]} of '{window.path}' does not fit "
                      f"into its image of {columns} x {rows} pixels")
        part = cv2.resize(image[y1:y2 + 1, x1:x2 + 1], (width, height), interpolation=cv2.INTER_LINEAR)
        if mirror:
            part = part[:, ::-1]
        place = ..., slice(above, above + height), slice(left, left + width)
        found = np.zeros((self.channels, self.size, self.size), np.float32)
        scale = np.float32(self.param.window_data_param.scale)
        found[place] = (planes(part) - self._mean()[place]) * scale
        return found

    def _mean(self) -> np.ndarray:
        """The centre crop of the mean image, or the mean values broadcast to (C, crop_size, crop_size)."""
        if self.mean is not None:
            start = (self.mean.shape[2] - self.size) // 2
            return self.mean[:, start:start + self.size, start:start + self.size]
        values = np.array(self.param.transform_param.mean_value or [0], np.float32)
        return np.broadcast_to(values[:, None, None], (self.channels, self.size, self.size))

    def _placement(self, window: Window, shape: tuple[int, ...], mirror: bool):
        """The box to crop from an image, its (width, height) after warping, and the padding left of and above it.

        With context or square windows, the box grows around its centre; pixels outside the image remain padding.
        Half sizes and corners are computed in float32, as in the original.
        """
        param, box = self.param.window_data_param, window[2:]
        if not param.context_pad and param.crop_mode != "square":
            return box, (self.size, self.size), (0, 0)
        grow = np.float32(self.size) / np.float32(self.size - 2 * param.context_pad)
        axes = []
        halves = [np.float32(box[2 + i] - box[i] + 1) / np.float32(2) for i in (0, 1)]
        for i, limit, flipped in ((0, shape[1], mirror), (1, shape[0], False)):
            half = (max(halves) if param.crop_mode == "square" else halves[i]) * grow
            middle = np.float32(box[i]) + halves[i]
            axes.append(self._grown(_round(middle - half), _round(middle + half), limit, flipped))
        (x1, x2, width, left), (y1, y2, height, above) = axes
        return (x1, y1, x2, y2), (width, height), (left, above)

    def _grown(self, first: int, last: int, limit: int, flipped: bool) -> tuple[int, int, int, int]:
        """For an interval: its part within 0..limit-1, the length of this part in the top, and the padding before it.

        If flipped, it is the padding that was after it. The length is clipped, because rounded sizes may not fit.
        """
        before, behind = max(0, -first), max(0, last - limit + 1)
        scale = np.float32(self.size) / np.float32(last - first + 1)
        first, last = first + before, last - behind
        free = _round(np.float32(behind if flipped else before) * scale)
        length = min(_round(np.float32(last - first + 1) * scale), self.size - free)
        return first, last, length, free

    def backward(self, top, propagate_down, bottom):
        """No bottoms."""


def _round(value: np.float32) -> int:
    """The nearest integer, halves away from zero, like C's round."""
    return int(math.floor(abs(float(value)) + 0.5)) * (1 if value >= 0 else -1)
