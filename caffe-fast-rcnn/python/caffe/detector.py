"""Detector: a classification net applied to windows of images, as in R-CNN (Girshick et al. 2014)."""
from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Sequence

import numpy as np

from . import io
from .classifier import input_transformer, predict_images
from .engine.layer import TEST
from .pycaffe_net import Net

_SELECTIVE_SEARCH = "selective_search_ijcv_with_python"
_HALVES = np.array((-1, -1, 1, 1))


class Detector(Net):
    """A net in the TEST phase that scores windows of images.

    model_file       its prototxt; the first input is the window, the first output the prediction
    pretrained_file  its weights
    context_pad      width in pixels of the border of the net's input that shows the window's context; 0 or None: none
    mean, input_scale, raw_scale, channel_swap   as in `caffe.io.Transformer`
    """

    def __init__(self, model_file, pretrained_file, mean: np.ndarray | None = None, input_scale: float | None = None,
                 raw_scale: float | None = None, channel_swap: Sequence[int] | None = None,
                 context_pad: int | None = None) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer = input_transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def detect_windows(self, images_windows: Iterable[tuple]) -> list[dict]:
        """Score windows: [{'window', 'prediction', 'filename'}], in input order.

        images_windows  pairs of an image file and its windows (ymin, xmin, ymax, xmax)
        """
        found, crops = [], []
        for filename, windows in images_windows:
            image = io.load_image(filename)
            for window in windows:
                found.append({"window": window, "filename": filename})
                crops.append(self.crop(image, window))
        if not crops:
            return []
        predictions = predict_images(self, self.transformer, crops)
        return [entry | {"prediction": prediction} for entry, prediction in zip(found, predictions, strict=True)]

    def detect_selective_search(self, image_fnames: Iterable[str]) -> list[dict]:
        """Score the windows that selective search proposes; see `detect_windows`.

        Raises ImportError if the selective search module, which is not part of Caffe, is not installed.
        """
        try:
            search = importlib.import_module(_SELECTIVE_SEARCH)
        except ImportError as error:
            raise ImportError(f"detect_selective_search needs the module {_SELECTIVE_SEARCH} (and MATLAB); without "
                              "it, give windows of your own to detect_windows") from error
        names = [os.path.abspath(name) for name in image_fnames]
        windows = search.get_windows(names, cmd="selective_search_rcnn")
        return self.detect_windows(zip(names, windows, strict=True))

    def configure_crop(self, context_pad: int | None) -> None:
        """Set the context around windows, and the mean that fills the area outside the image."""
        name = self.inputs[0]
        channels, height, width = self.blobs[name].shape[1:]
        self.crop_dims = np.array((height, width, channels))
        self.context_pad = context_pad or 0
        if context_pad:
            if height != width or not 0 < 2 * context_pad < width:
                raise ValueError(f"context_pad {context_pad} needs a square input larger than twice that, found "
                                 f"{height}x{width}")
            self.crop_mean = self._mean_image()

    def _mean_image(self) -> np.ndarray:
        """The mean as a raw image, before preprocessing: (height, width, channels)."""
        name, steps = self.inputs[0], self.transformer
        if name not in steps.mean:
            return np.zeros(self.crop_dims, np.float32)
        mean = np.array(steps.mean[name], np.float32)
        if name in steps.channel_swap:
            mean = mean[np.argsort(steps.channel_swap[name])]
        mean = mean.transpose(1, 2, 0) / steps.raw_scale.get(name, 1)
        return np.broadcast_to(mean, self.crop_dims)

    def crop(self, im: np.ndarray, window: Sequence[float]) -> np.ndarray:
        """The pixels of a window (ymin, xmin, ymax, xmax), with context around them if context_pad is set.

        Without context, ymax and xmax are exclusive and the crop has the size of the window. With context, they are
        inclusive, as in R-CNN, and the crop has the size of the net's input, filled with the mean outside the image.
        Raises ValueError for a window without pixels of the image, and without context for one that begins before it.
        """
        if not self.context_pad:
            y1, x1, y2, x2 = (int(edge) for edge in window)
            pixels = im[y1:y2, x1:x2]
            if min(y1, x1) < 0 or not pixels.size:      # a negative index would count from the image's end
                raise _outside(window, im)
            return pixels
        size = int(self.crop_dims[0])
        box = self._with_context(np.asarray(window, float), size)
        scale = size / (box[2:] - box[:2] + 1)
        first = np.round(np.maximum(0, -box[:2]) * scale).astype(int)       # outside the image, above and left
        box = np.clip(box, 0, np.tile(im.shape[:2], 2)).astype(int)
        length = np.round((box[2:] - box[:2] + 1) * scale).astype(int)
        length = np.minimum(length, size - first)
        pixels = im[box[0]:box[2], box[1]:box[3]]
        if not pixels.size or length.min() < 1:
            raise _outside(window, im)
        result = np.array(self.crop_mean)
        result[first[0]:first[0] + length[0], first[1]:first[1] + length[1]] = io.resize_image(pixels, length)
        return result

    def _with_context(self, box: np.ndarray, size: int) -> np.ndarray:
        """The box enlarged about its centre, so that the window fills the input except for context_pad pixels."""
        half = (box[2:] - box[:2] + 1) / 2
        scale = size / (size - 2 * self.context_pad)
        return np.round(np.tile(box[:2] + half, 2) + scale * _HALVES * np.tile(half, 2))


def _outside(window: Sequence[float], im: np.ndarray) -> ValueError:
    return ValueError(f"window {tuple(window)} lies outside of its image of {im.shape[0]}x{im.shape[1]}")
