"""Images that notebooks display."""
from __future__ import annotations

import os

import cv2
import numpy as np

from frcnn.errors import one_exception
from utils.draw import write_image
from utils.errors import UserError


class Picture(np.ndarray):
    """An image (height, width, 3) uint8 in OpenCV's BGR order that notebooks display."""

    def __new__(cls, pixels: np.ndarray) -> Picture:
        return np.asarray(pixels).view(cls)

    @one_exception
    def save(self, path: str | os.PathLike) -> None:
        """Write the image to a file, in the format of its extension. Raises UserError if that is impossible."""
        try:
            write_image(path, np.asarray(self))
        except ValueError as error:
            raise UserError(str(error)) from None

    def _repr_png_(self) -> bytes | None:
        if self.ndim != 3 or self.dtype != np.uint8:        # a slice, or the result of arithmetic
            return None
        return cv2.imencode(".png", np.asarray(self))[1].tobytes()
