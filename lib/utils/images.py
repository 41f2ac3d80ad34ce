"""Reads image files and prepares them for a net; requests are plain values, so that worker processes can serve them."""
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

_LARGE = 1 << 24            # pixels above which the file's size must be plausible
_DENSEST = 4096             # most pixels per byte; photographs have at most 100, drawings in one colour some 1000
_DARKEST = 16               # highest 8-bit value of 12-bit data stored in 16 bits
_NAMELESS = "image data"    # its name in messages if there is no file
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True)
class ImageSettings:
    """How images are prepared for a net; names as in cfg."""

    scales: Sequence[int]       # lengths of the shorter side in pixels: training draws one, a pyramid has all
    max_size: int               # limit of the longer side in pixels
    means: tuple[float, ...]    # one number or three (B, G, R)
    stds: tuple[float, ...]     # the same
    workers: int = field(default=0, compare=False)      # processes that prefetch images; 0: threads instead
    scale_jitter: float = 0.0   # in training `scales` are multiplied by 1 - jitter .. 1 + jitter
    colour_jitter: float = 0.0  # in training brightness, contrast and saturation are multiplied by 1 - .. 1 + jitter
    warp: tuple[int, ...] = ()  # height and width of all images, instead of `scales`; (): keep the aspect ratio

    @property
    def largest_sizes(self) -> list[int]:
        """The `scales`, each with the largest jitter."""
        return [math.ceil(scale * (1 + self.scale_jitter)) for scale in self.scales]

    @classmethod
    def from_cfg(cls, settings: Mapping[str, Any], phase: str) -> ImageSettings:
        """The settings in a cfg tree, from its section `phase`: TRAIN or TEST."""
        section = settings[phase]
        return cls(tuple(section["SCALES"]), section["MAX_SIZE"], tuple(np.ravel(settings["PIXEL_MEANS"]).tolist()),
                   tuple(np.ravel(settings["PIXEL_STDS"]).tolist()), settings["NUM_WORKERS"],
                   section.get("SCALE_JITTER", 0.0), section.get("COLOUR_JITTER", 0.0))


class ImageRequest(NamedTuple):
    """An image file and how to prepare it; see `prepare_image`."""

    path: str
    flipped: bool       # mirror horizontally
    size: int           # length of the shorter side in pixels
    max_size: int       # limit of the longer side in pixels
    means: Sequence[float]
    stds: Sequence[float]
    upside_down: bool = False           # flip vertically
    colour: Sequence[float] = ()        # factors of brightness, contrast and saturation; (): unchanged
    window: Sequence[int] = ()          # crop x1, y1, x2, y2, inclusive, of the flipped image; (): all of it
    warp: Sequence[int] = ()            # height and width, see `warp_im_for_blob`; (): keep the aspect ratio


class PreparedImage(NamedTuple):
    """An image prepared for a net."""

    pixels: np.ndarray  # (height, width, 3) float32, scaled
    scale: float        # NaN if it was warped
    file_size: tuple[int, int]  # height and width before scaling: of the image, or of its crop


class BrokenImage(ImageError):
    """A file holds nothing that OpenCV can decode."""


# A context manager that prepares the images of some requests; they are valid only inside its block.
Reader = Callable[[Sequence[ImageRequest]], AbstractContextManager[list[PreparedImage]]]


def image_request(path: str, flipped: bool, size: int, settings: ImageSettings, upside_down: bool = False,
                  colour: Sequence[float] = (), window: Sequence[int] = ()) -> ImageRequest:
    """The request for an image at `size`, one of `settings.scales`."""
    return ImageRequest(str(path), bool(flipped), int(size), int(settings.max_size), settings.means, settings.stds,
                        bool(upside_down), tuple(map(float, colour)), tuple(map(int, window)), settings.warp)


def change_colours(image: np.ndarray, brightness: float, contrast: float, saturation: float) -> np.ndarray:
    """Change the colours of an image (height, width, 3) BGR uint8; values are rounded and clipped to 0..255.

    Differences from a pixel's grey value are scaled by `saturation`, differences from the mean grey value by
    `contrast`; then all values are multiplied by `brightness`.
    """
    values = image.astype(np.float32)
    grey = values @ np.array([0.114, 0.587, 0.299], np.float32)
    values = grey[..., None] + saturation * (values - grey[..., None])
    values = (grey.mean() + contrast * (values - grey.mean())) * brightness
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def most_pixels(sizes: Sequence[int], max_size: int) -> int:
    """Upper limit of a prepared image's number of pixels, for these lengths of the shorter side."""
    return min(max(sizes), max_size) * max_size


def read_image(path: str, flipped: bool = False) -> np.ndarray:
    """Read an image: (height, width, 3) BGR uint8, mirrored if `flipped`. Raises ImageError with the path."""
    image = decode(path, cv2.IMREAD_COLOR)
    return image[:, ::-1] if flipped else image


def decode(path: str | os.PathLike, flags: int) -> np.ndarray:
    """Decode an image file, or the image embedded in a LabelMe file, as cv2.imread does, after `check_file`.

    Raises ImageError with the path if it cannot be decoded, or holds 12-bit data in 16 bits, which is black in 8 bits.
    """
    check_file(path)
    if is_embedding(path):
        return _decoded(path, partial(_decode_bytes, embedded_image(path)), flags)
    return _decoded(path, partial(cv2.imread, str(path)), flags)


def decode_bytes(data: bytes) -> np.ndarray:
    """`read_image` for the content of an image file. Raises ImageError."""
    header = header_in(io.BytesIO(data))
    if header:
        _check_size(_NAMELESS, header.size, len(data))
    return _decoded(_NAMELESS, partial(_decode_bytes, data), cv2.IMREAD_COLOR)


def _decode_bytes(data: bytes, flags: int) -> np.ndarray | None:
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None


def _decoded(name: str | os.PathLike, decoder: Callable[[int], np.ndarray | None], flags: int) -> np.ndarray:
    """The result of a decoder called with these flags; `name` is for messages."""
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
    """Check a file before the decoder allocates memory for it; returns the image's header, None if unknown.

    Raises ImageError for a file that OpenCV must not read: its name is not UTF-8 (OpenCV would crash), it is not a
    regular file, it has more pixels than OpenCV reads, or more than so small a file can hold.
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
    """Parse a limit as OpenCV reads it from the environment: a number, optionally with a unit such as 'MB'."""
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
    """`image_pyramid` of an image (height, width, 3) BGR; with `warp` a single level, whose scale is NaN."""
    means, stds = np.array(settings.means), np.array(settings.stds)
    if settings.warp:
        return im_list_to_blob([warp_im_for_blob(im, means, settings.warp, stds)]), np.array([math.nan])
    return image_pyramid(im, means, settings.scales, settings.max_size, stds)


@contextlib.contextmanager
def read_in_line(requests: Sequence[ImageRequest]) -> Iterator[list[PreparedImage]]:
    """The `Reader` that prepares images one after the other in this process."""
    yield [prepare_image(request) for request in requests]
