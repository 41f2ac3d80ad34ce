"""Reuses the outputs of a net's frozen layers for an image, on a Caffe that has `net.reuse_frozen_prefix`."""
from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fast_rcnn.config import Config
from utils import other_caffe
from utils.images import ImageRequest, PreparedImage, Reader
from utils.other_caffe import FrozenPrefix, Net

FEATURES = "features"       # folder for cached outputs of frozen layers in the output folder of a training or run


@dataclass(frozen=True)
class FeatureSettings:
    """Whether and how features are cached; names as in cfg."""

    reuse: bool
    memory_mb: int
    disk_mb: int
    preprocessing: str      # of the images; features are valid for one preprocessing only

    @classmethod
    def from_cfg(cls, settings: Config) -> FeatureSettings:
        """The settings in a cfg tree."""
        means, stds = np.ravel(settings.PIXEL_MEANS), np.ravel(settings.PIXEL_STDS)
        return cls(settings.REUSE_FEATURES, settings.FEATURE_MEMORY_MB, settings.FEATURE_DISK_MB,
                   f"bilinear, means {means}, stds {stds}")


def reuse_features(net: Net, folder: str | os.PathLike, images: int, settings: FeatureSettings) -> FrozenPrefix | None:
    """Let a net cache the features of its frozen layers; returns the cache, or None if it is disabled.

    The cache's `next_batch` must be called for each batch.

    folder    where features are stored
    images    expected number of distinct images; each scale counts
    """
    if not settings.reuse:
        return None
    return other_caffe.reuse_frozen_prefix(net, folder, settings.memory_mb, settings.disk_mb, settings.preprocessing,
                                           images)


def image_key(request: ImageRequest) -> str:
    """Key for the pixels of a prepared image without crop or colour jitter; changes when the file does."""
    try:
        changed = os.stat(request.path).st_mtime_ns
    except OSError:         # reported when the image is read
        changed = 0
    turned = " upside down" if request.upside_down else ""
    return f"{request.path} {changed} {request.flipped} {request.size} {request.max_size}{turned}"


class KnownImages:
    """Remembers image sizes, so that images with cached features need not be read again."""

    def __init__(self, prefix: FrozenPrefix) -> None:
        """prefix  what `reuse_features` returned"""
        self.prefix = prefix
        self.images: dict[str, PreparedImage] = {}      # by key; the pixels are broadcast zeros without memory


class FeatureReader:
    """A `Reader` for one minibatch that returns zeros for images of which the net needs only the size.

    keys    after reading, the key of each image's pixels
    sizes   their (height, width)
    absent  the indices of the images that are zeros
    """

    def __init__(self, read: Reader, known: KnownImages) -> None:
        self._read, self._known = read, known
        self.keys: list[str] = []
        self.sizes: list[tuple[int, int]] = []
        self.absent: list[int] = []

    def _needless(self, key: str) -> PreparedImage | None:
        prefix = self._known.prefix
        return self._known.images.get(key) if not prefix.reads_image and prefix.has(key) else None

    @contextlib.contextmanager
    def __call__(self, requests: Sequence[ImageRequest]) -> Iterator[list[PreparedImage]]:
        self.keys = [image_key(request) for request in requests]
        images = [self._needless(key) for key in self.keys]
        self.absent = [index for index, image in enumerate(images) if image is not None]
        missing = [index for index, image in enumerate(images) if image is None]
        with self._read([requests[index] for index in missing]) as found:
            for index, image in zip(missing, found, strict=True):
                images[index] = image
                blank = np.broadcast_to(np.float32(0), image.pixels.shape)
                self._known.images[self.keys[index]] = image._replace(pixels=blank)
            complete = [image for image in images if image is not None]
            self.sizes = [(image.pixels.shape[0], image.pixels.shape[1]) for image in complete]
            yield complete
