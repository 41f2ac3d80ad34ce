"""Base classes of layers that read the images listed in a text file, with labels or label images."""
from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from ...errors import WireError
from ...proto.layer_settings import MOVED_TO_TRANSFORM
from ..blob import checked_shape
from .image_files import read_image
from .image_list import ImageListError
from .images import FOR_OBJECTS, ImageLayer, own_turns


class ListedImageLayer(ImageLayer):
    """An ImageLayer with image_data_param; subclasses define `read_lines` and `read`."""

    other_settings = ("transform_param",)
    unread_settings: tuple[str, ...] = (
        "transform_param.force_color", "transform_param.force_gray", *FOR_OBJECTS,
        *(f"image_data_param.{name}" for name in MOVED_TO_TRANSFORM))

    def read_lines(self) -> list[Any]:
        """The argument of `read` for each line of the list. Raises ImageListError."""
        raise NotImplementedError(f"{type(self).__name__} has no read_lines")

    def setup(self, bottom, top):
        param = self.param.image_data_param
        if bool(param.new_height) != bool(param.new_width):
            self.fail(f"set both new_height and new_width, found {param.new_height} and {param.new_width}")
        checked_shape((param.new_height, param.new_width, 3))
        self.batch_size = param.batch_size
        try:
            self.lines = self.read_lines()
        except ImageListError as error:
            self.fail(str(error))
        super().setup(bottom, top)

    def references(self):
        param = self.param.image_data_param
        if param.shuffle:
            self.random.shuffle(self.lines)
        skip = self.random.randrange(param.rand_skip) if param.rand_skip else 0
        if skip >= len(self.lines):
            self.fail(f"rand_skip {param.rand_skip} skips past the {len(self.lines)} images")
        turns = own_turns(self)
        while True:
            for line in self.lines[skip:]:
                if next(turns):
                    yield line
            skip = 0
            if param.shuffle:
                self.random.shuffle(self.lines)

    def image_file(self, name: str, color: bool, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
        """An image of root_folder, (H, W, 3) or (H, W) uint8, resized if configured. Raises LayerError."""
        param = self.param.image_data_param
        try:
            image = read_image(param.root_folder + name, color)
        except WireError as error:
            self.fail(f"list '{param.source}': {error}")
        if param.new_height:
            try:
                image = cv2.resize(image, (param.new_width, param.new_height), interpolation=interpolation)
            except cv2.error as error:      # more rows or columns than OpenCV supports
                self.fail(f"cannot resize an image to new_height {param.new_height} and new_width {param.new_width}: "
                          f"{error.err}")
        return image


class LabelledPixelsLayer(ListedImageLayer):
    """A ListedImageLayer whose second top (N, 1, H, W) labels each pixel, cropped and mirrored with the image."""

    def setup(self, bottom, top):
        if self.param.transform_param.resize_param:
            self.fail("transform_param: resize_param does not resize labels; set new_height and new_width")
        super().setup(bottom, top)

    def transformed(self, image, label):
        return self.transformer.pair(image, label)

    def _shape(self, top, image_shape):
        top[0].reshape(self.batch_size, *image_shape)
        top[1].reshape(self.batch_size, 1, *image_shape[1:])

    def check_sizes(self, reference: tuple[str, str], image: np.ndarray, labels: np.ndarray) -> None:
        """Raise LayerError if an image and its label image, (C, H, W), differ in height or width."""
        if image.shape[1:] != labels.shape[1:]:
            sizes = [f"'{name}' has {value.shape[1]} x {value.shape[2]} pixels"
                     for name, value in zip(reference, (image, labels), strict=True)]
            self.fail(f"list '{self.param.image_data_param.source}': {sizes[0]}, its labels {sizes[1]}")
