"""Reads and prepares image files for a net; requests are plain values, so that another process can serve them."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cv2
import numpy as np

from utils.blob import image_pyramid, prep_im_for_blob
from utils.errors import UserError


class ImageError(UserError, ValueError):
    """An image of the data set cannot be read."""


@dataclass(frozen=True)
class ImageSettings:
    """How images are prepared for a net; names as in cfg."""

    scales: Sequence[int]       # lengths of the shorter side in pixels: one is drawn in training, all form a pyramid
    max_size: int               # most pixels of the longer side
    means: tuple[float, ...]    # one number or three (B, G, R), as are the deviations
    stds: tuple[float, ...]
    workers: int = field(default=0, compare=False)      # processes that prepare them in advance; 0: threads do

    @classmethod
    def from_cfg(cls, settings: Mapping[str, Any], phase: str) -> ImageSettings:
        """The settings in a cfg tree, with its section TRAIN or TEST."""
        section = settings[phase]
        return cls(tuple(section["SCALES"]), section["MAX_SIZE"], tuple(np.ravel(settings["PIXEL_MEANS"]).tolist()),
                   tuple(np.ravel(settings["PIXEL_STDS"]).tolist()), settings["NUM_WORKERS"])


class ImageRequest(NamedTuple):
    """An image file, and how to prepare it; see `prep_im_for_blob`."""

    path: str
    flipped: bool       # mirror it
    size: int           # pixels of the shorter side
    max_size: int       # most pixels of the longer side
    means: Sequence[float]
    stds: Sequence[float]


class PreparedImage(NamedTuple):
    """An image as input of a net."""

    pixels: np.ndarray  # (height, width, 3) float32, scaled
    scale: float
    file_size: tuple[int, int]  # height and width before scaling


# Returns the images of some requests, which are valid inside a `with` block only.
Reader = Callable[[Sequence[ImageRequest]], AbstractContextManager[list[PreparedImage]]]


def image_request(path: str, flipped: bool, size: int, settings: ImageSettings) -> ImageRequest:
    """The request for an image at one of the sizes in `settings.scales`."""
    return ImageRequest(str(path), bool(flipped), int(size), int(settings.max_size), settings.means, settings.stds)


def most_pixels(sizes: Sequence[int], max_size: int) -> int:
    """Pixels of the largest prepared image at these lengths of the shorter side."""
    return min(max(sizes), max_size) * max_size


def read_image(path: str, flipped: bool = False) -> np.ndarray:
    """Image (height, width, 3) BGR uint8, mirrored if `flipped`. Raises ImageError with the path."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ImageError(f"{path}: the image is missing or broken")
    return image[:, ::-1] if flipped else image


def prepare_image(request: ImageRequest) -> PreparedImage:
    """Read and prepare an image. Raises ImageError with the path."""
    image = read_image(request.path, request.flipped)
    pixels, scale = prep_im_for_blob(image, np.array(request.means), request.size, request.max_size,
                                     np.array(request.stds))
    return PreparedImage(pixels, scale, image.shape[:2])


def prepare_pyramid(im: np.ndarray, settings: ImageSettings) -> tuple[np.ndarray, np.ndarray]:
    """`image_pyramid` of an image (height, width, 3) BGR at all scales."""
    return image_pyramid(im, np.array(settings.means), settings.scales, settings.max_size, np.array(settings.stds))


@contextlib.contextmanager
def read_in_line(requests: Sequence[ImageRequest]) -> Iterator[list[PreparedImage]]:
    """The `Reader` that prepares the images in this process, one after the other."""
    yield [prepare_image(request) for request in requests]
