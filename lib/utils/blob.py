"""Converts images to net inputs: mean subtracted, scaled, padded to one size, N x 3 x H x W."""
from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from utils.errors import UserError


class ImageError(UserError, ValueError):
    """An image cannot be read, or cannot be a net's input."""


def im_list_to_blob(ims: Sequence[np.ndarray]) -> np.ndarray:
    """Stack images of different sizes into one blob, zero-padded at the bottom and the right.

    ims      images (height, width, channels), prepared by `prep_im_for_blob`
    returns  (N, channels, largest height, largest width) float32
    """
    height, width, channels = np.max([im.shape for im in ims], axis=0)
    blob = np.zeros((len(ims), channels, height, width), np.float32)
    for plane, im in zip(blob, ims, strict=True):
        plane[:, :im.shape[0], :im.shape[1]] = im.transpose(2, 0, 1)
    return blob


def as_rows(array: np.ndarray) -> np.ndarray:
    """Reshape (n, ...) to (n, product of the rest); unlike reshape(n, -1), works for n = 0."""
    return array.reshape(len(array), int(np.prod(array.shape[1:])))


def im_scale_for(height: int, width: int, target_size: float, max_size: float) -> float:
    """Factor that makes the shorter side `target_size`, or the longer one `max_size` if that is smaller."""
    scale = float(target_size) / min(height, width)
    if np.round(scale * max(height, width)) > max_size:
        scale = float(max_size) / max(height, width)
    return scale


def prep_im_for_blob(im: np.ndarray, pixel_means: np.ndarray, target_size: float, max_size: float,
                     pixel_stds: np.ndarray | float = 1.0) -> tuple[np.ndarray, float]:
    """Normalise an image by mean and standard deviation, then scale it; the input is not changed.

    Scaling is bilinear without antialiasing; sizes are rounded, halves to even.

    im                       (height, width, 3) BGR, values in 0..255 of any number type
    pixel_means, pixel_stds  one number or (1, 1, 3) in BGR order
    target_size, max_size    pixels, see `im_scale_for`
    returns                  the float32 image and its scale
    Raises ImageError, a ValueError, for any other input, and if no pixels are left.
    """
    check_image(im)
    if not has_pixels(im.shape[0], im.shape[1], target_size, max_size):
        raise ImageError(f"no pixels are left of {im.shape[1]} x {im.shape[0]} when scaled to at most {max_size}")
    scale = im_scale_for(im.shape[0], im.shape[1], target_size, max_size)
    pixels = _normalised(im, pixel_means, pixel_stds)
    return cv2.resize(pixels, None, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR), scale


def warp_im_for_blob(im: np.ndarray, pixel_means: np.ndarray, size: Sequence[int],
                     pixel_stds: np.ndarray | float = 1.0) -> np.ndarray:
    """Scale an image to a fixed size, ignoring its aspect ratio, then normalise it by mean and standard deviation.

    Scaling is bilinear without antialiasing, from 8-bit values to 8-bit values, as in SSD's Caffe.

    size     (height, width) in pixels; for the other arguments see `prep_im_for_blob`
    returns  (height, width, 3) float32
    Raises ImageError.
    """
    check_image(im)
    height, width = size
    return _normalised(cv2.resize(im, (width, height), interpolation=cv2.INTER_LINEAR), pixel_means, pixel_stds)


def _normalised(im: np.ndarray, means: np.ndarray, stds: np.ndarray | float) -> np.ndarray:
    """(im - means) / stds as float32."""
    pixels = im.astype(np.float32, order="C")
    rows = pixels.reshape(len(pixels), -1)      # whole rows: NumPy is slow if the last axis has three values
    rows -= _row_of(means, im.shape)
    if np.any(np.not_equal(stds, 1)):
        rows /= _row_of(stds, im.shape)
    return pixels


def check_image(im: np.ndarray) -> None:
    """Raise ImageError, with what was expected and found, unless `im` is an image as in `prep_im_for_blob`."""
    if im is None:
        raise ImageError("expected an image, found None: cv2.imread returns it for a file that cannot be read")
    if not isinstance(im, np.ndarray) or im.dtype.kind not in "buif":
        raise ImageError("expected an image as an array of numbers, found "
                         f"{getattr(im, 'dtype', type(im).__name__)}")
    if im.ndim != 3 or im.shape[2] != 3 or not im.size:
        raise ImageError(f"expected an image of shape (height, width, 3), found shape {im.shape}")
    if im.dtype.kind in "ui" and im.itemsize > 1 and im.max() > 255:
        raise ImageError(f"expected an image with values in 0..255, found {im.dtype} up to {im.max()}; scale the "
                         "values to 8 bits")


def has_pixels(height: int, width: int, target_size: float, max_size: float) -> bool:
    """Whether an image of this size has any pixels after scaling."""
    return bool(np.round(min(height, width) * im_scale_for(height, width, target_size, max_size)) >= 1)


def _row_of(values: np.ndarray | float, shape: tuple[int, ...]) -> np.ndarray:
    """One number, or one per channel, repeated over an image's row: (width * channels,) float32."""
    return np.broadcast_to(np.ravel(values).astype(np.float32), shape[1:]).ravel()


def image_pyramid(im: np.ndarray, pixel_means: np.ndarray, scales: Sequence[float], max_size: float,
                  pixel_stds: np.ndarray | float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """One image at several scales, as one blob.

    scales   length of the shorter side in pixels for each level of the pyramid
    returns  the blob (levels, 3, H, W) and the scale of each level
    """
    levels = [prep_im_for_blob(im, pixel_means, size, max_size, pixel_stds) for size in scales]
    return im_list_to_blob([image for image, _ in levels]), np.array([scale for _, scale in levels])
