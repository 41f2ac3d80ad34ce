"""Pictures that notebooks show."""
from __future__ import annotations

import os

import cv2
import numpy as np

from frcnn.mistakes import one_exception
from utils.draw import write_image
from utils.errors import UserError


class Picture(np.ndarray):
    """An array (height, width, 3) uint8 BGR, as OpenCV has them, which notebooks display."""

    def __new__(cls, pixels: np.ndarray) -> Picture:
        return np.asarray(pixels).view(cls)

    @one_exception
    def save(self, path: str | os.PathLike) -> None:
        """Write it into a file, whose ending says the format. Raises UserError if that is impossible."""
        try:
            write_image(path, np.asarray(self))
        except ValueError as error:
            raise UserError(str(error)) from None

    def _repr_png_(self) -> bytes | None:
        if self.ndim != 3 or self.dtype != np.uint8:        # a part of it, or computed from it
            return None
        return cv2.imencode(".png", np.asarray(self))[1].tobytes()
