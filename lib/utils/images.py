"""Reads and prepares image files for a net; requests are plain values, so that another process can serve them."""
from __future__ import annotations

import contextlib
import io
import math
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np

from utils.blob import ImageError, im_list_to_blob, image_pyramid, prep_im_for_blob, warp_im_for_blob
from utils.embedded_images import embedded_image, is_embedding
from utils.image_header import Header, Size, header_in, read_header
from utils.text import is_utf8

_LARGE = 1 << 24            # pixels from which on an image must have a file of some size
_DENSEST = 4096             # pixels a byte; photographs have at most 100, drawings in one colour some 1000
_DARKEST = 16               # highest value of 12 bits stored in 16, when read as 8
_NAMELESS = "image data"    # its name in messages if there is no file
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True)
class ImageSettings:
    """How images are prepared for a net; names as in cfg."""

    scales: Sequence[int]       # lengths of the shorter side in pixels: one is drawn in training, all form a pyramid
    max_size: int               # most pixels of the longer side
    means: tuple[float, ...]    # one number or three (B, G, R), as are the deviations
    stds: tuple[float, ...]
    workers: int = field(default=0, compare=False)      # processes that prepare them in advance; 0: threads do
    scale_jitter: float = 0.0   # in training `scales` are multiplied by 1 - jitter .. 1 + jitter
    colour_jitter: float = 0.0  # likewise brightness, contrast and saturation
    warp: tuple[int, ...] = ()  # height and width of all images, in place of `scales`; (): they keep their shape

    @property
    def largest_sizes(self) -> list[int]:
        """The `scales`, each with the most jitter."""
        return [math.ceil(scale * (1 + self.scale_jitter)) for scale in self.scales]

    @classmethod
    def from_cfg(cls, settings: Mapping[str, Any], phase: str) -> ImageSettings:
        """The settings in a cfg tree, with its section TRAIN or TEST."""
        section = settings[phase]
        return cls(tuple(section["SCALES"]), section["MAX_SIZE"], tuple(np.ravel(settings["PIXEL_MEANS"]).tolist()),
                   tuple(np.ravel(settings["PIXEL_STDS"]).tolist()), settings["NUM_WORKERS"],
                   section.get("SCALE_JITTER", 0.0), section.get("COLOUR_JITTER", 0.0))


class ImageRequest(NamedTuple):
    """An image file, and how to prepare it; see `prep_im_for_blob`."""

    path: str
    flipped: bool       # mirror it
    size: int           # pixels of the shorter side
    max_size: int       # most pixels of the longer side
    means: Sequence[float]
    stds: Sequence[float]
    upside_down: bool = False           # turn it over
    colour: Sequence[float] = ()        # factors of brightness, contrast and saturation; (): as it is
    window: Sequence[int] = ()          # then its part x1, y1, x2, y2, inclusive; (): all of it
    warp: Sequence[int] = ()            # height and width, see `warp_im_for_blob`; (): it keeps its shape


class PreparedImage(NamedTuple):
    """An image as input of a net."""

    pixels: np.ndarray  # (height, width, 3) float32, scaled
    scale: float        # NaN if it was warped
    file_size: tuple[int, int]  # height and width before scaling: of the file, or of its part


class BrokenImage(ImageError):
    """There is nothing in a file that OpenCV can decode."""


# Returns the images of some requests, which are valid inside a `with` block only.
Reader = Callable[[Sequence[ImageRequest]], AbstractContextManager[list[PreparedImage]]]


def image_request(path: str, flipped: bool, size: int, settings: ImageSettings, upside_down: bool = False,
                  colour: Sequence[float] = (), window: Sequence[int] = ()) -> ImageRequest:
    """The request for an image at one of the sizes in `settings.scales`."""
    return ImageRequest(str(path), bool(flipped), int(size), int(settings.max_size), settings.means, settings.stds,
                        bool(upside_down), tuple(map(float, colour)), tuple(map(int, window)), settings.warp)


def change_colours(image: np.ndarray, brightness: float, contrast: float, saturation: float) -> np.ndarray:
    """An image (height, width, 3) BGR uint8 with changed colours, rounded and clipped to 0..255.

    Each pixel moves away from its grey by the factor `saturation`, from the mean of all greys by `contrast`, and is
    multiplied by `brightness`.
    """
    values = image.astype(np.float32)
    grey = values @ np.array([0.114, 0.587, 0.299], np.float32)
    values = grey[..., None] + saturation * (values - grey[..., None])
    values = (grey.mean() + contrast * (values - grey.mean())) * brightness
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def most_pixels(sizes: Sequence[int], max_size: int) -> int:
    """Pixels of the largest prepared image at these lengths of the shorter side."""
    return min(max(sizes), max_size) * max_size


def read_image(path: str, flipped: bool = False) -> np.ndarray:
    """Image (height, width, 3) BGR uint8, mirrored if `flipped`. Raises ImageError with the path."""
    image = decode(path, cv2.IMREAD_COLOR)
    return image[:, ::-1] if flipped else image


def decode(path: str | os.PathLike, flags: int) -> np.ndarray:
    """What cv2.imread returns for a file, or for the image that a LabelMe file embeds, after `check_file`.

    Raises ImageError with the path if that is nothing, or 12-bit data stored in 16 bits, which is black in 8 bits.
    """
    check_file(path)
    if is_embedding(path):
        return _decoded(path, partial(_decode_bytes, embedded_image(path)), flags)
    return _decoded(path, partial(cv2.imread, str(path)), flags)


def decode_bytes(data: bytes) -> np.ndarray:
    """`read_image` of the content of an image file. Raises ImageError."""
    header = header_in(io.BytesIO(data))
    if header:
        _check_size(_NAMELESS, header.size, len(data))
    return _decoded(_NAMELESS, partial(_decode_bytes, data), cv2.IMREAD_COLOR)


def _decode_bytes(data: bytes, flags: int) -> np.ndarray | None:
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None


def _decoded(name: str | os.PathLike, decoder: Callable[[int], Any], flags: int) -> np.ndarray:
    """What a decoder returns for these flags; `name` is for messages."""
    try:
        image = decoder(flags)
        if image is None:
            raise BrokenImage(f"{name}: the image is missing or broken")
        array = np.asarray(image)
        if array.dtype == np.uint8 and 0 < array.max(initial=0) <= _DARKEST:
            _check_depth(name, np.asarray(decoder(cv2.IMREAD_UNCHANGED)))
        return array
    except cv2.error as error:
        raise ImageError(f"{name}: OpenCV cannot read the image: {error.err or error}") from None


def _check_depth(name: str | os.PathLike, values: np.ndarray) -> None:
    if values.dtype == np.uint16 and values.max() < 1 << 12:
        raise ImageError(f"{name}: the highest of its 16-bit values is {values.max()}, so that it is black in the 8 "
                         "bits of a net's input; scale the values to 0..65535, or store 8 bits")


def check_file(path: str | os.PathLike) -> Header | None:
    """The header of an image, None if unknown; to be called before the decoder takes memory for it.

    Raises ImageError for a file that OpenCV must not be given: its name is not UTF-8 (OpenCV would crash), it is no
    file, it has more pixels than OpenCV reads, or so many that it cannot hold a picture of them.
    """
    if not is_utf8(os.fspath(path)):
        raise ImageError(f"{path}: the file's name is not UTF-8; rename it")
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{path}: is not a file")
        header = read_header(path)
    except FileNotFoundError:
        raise ImageError(f"{path}: the image is missing or broken: there is no such file") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    if header:
        _check_size(path, header.size, status.st_size)
    return header


def _check_size(name: str | os.PathLike, size: Size, num_bytes: int) -> None:
    width, height = size
    _check_limits(name, width, height)
    if width * height > max(_LARGE, _DENSEST * num_bytes):
        raise ImageError(f"{name}: a file of {num_bytes} bytes that claims {width} x {height} pixels")


def _check_limits(path: str | os.PathLike, width: int, height: int) -> None:
    for name, found, default in (("PIXELS", width * height, 1 << 30), ("WIDTH", width, 1 << 20),
                                 ("HEIGHT", height, 1 << 20)):
        variable = f"OPENCV_IO_MAX_IMAGE_{name}"
        limit = _limit(os.environ.get(variable, ""), default)
        if found > limit:
            raise ImageError(f"{path}: {width} x {height} pixels are more than OpenCV reads; the environment "
                             f"variable {variable}, now {limit}, raises that")


def _limit(text: str, default: int) -> int:
    """A limit as OpenCV reads it from the environment: a number, perhaps with a unit such as 'MB'."""
    found = re.fullmatch(r"(\d+)([kmg]?)b?", text.strip().lower())
    return int(found[1]) * _UNITS[found[2]] if found else default


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Prefix ImageErrors about an image with its path."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None


def prepare_image(request: ImageRequest) -> PreparedImage:
    """Read and prepare an image. Raises ImageError with the path."""
    image = read_image(request.path, request.flipped)
    if request.upside_down:
        image = image[::-1]
    if request.window:
        x1, y1, x2, y2 = request.window
        image = image[y1:y2 + 1, x1:x2 + 1]
    if request.colour:
        image = change_colours(image, *request.colour)
    means, stds = np.array(request.means), np.array(request.stds)
    with naming(request.path):
        if request.warp:
            return PreparedImage(warp_im_for_blob(image, means, request.warp, stds), math.nan, image.shape[:2])
        pixels, scale = prep_im_for_blob(image, means, request.size, request.max_size, stds)
    return PreparedImage(pixels, scale, image.shape[:2])


def prepare_pyramid(im: np.ndarray, settings: ImageSettings) -> tuple[np.ndarray, np.ndarray]:
    """`image_pyramid` of an image (height, width, 3) BGR at all scales; with `warp` one level, whose scale is NaN."""
    means, stds = np.array(settings.means), np.array(settings.stds)
    if settings.warp:
        return im_list_to_blob([warp_im_for_blob(im, means, settings.warp, stds)]), np.array([math.nan])
    return image_pyramid(im, means, settings.scales, settings.max_size, stds)


@contextlib.contextmanager
def read_in_line(requests: Sequence[ImageRequest]) -> Iterator[list[PreparedImage]]:
    """The `Reader` that prepares the images in this process, one after the other."""
    yield [prepare_image(request) for request in requests]
