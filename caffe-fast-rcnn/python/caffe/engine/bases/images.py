"""Base of layers that read images: transformation (crop, mirror, mean, scale) and batching."""
from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ...errors import WireError
from ...proto.binary import read_binaryproto
from .. import device
from ..layer import TEST, TRAIN, Layer, LayerError
from .resizing import check_resize, resized, resized_size, resized_window

# Fields of transform_param that only AnnotatedData reads
FOR_OBJECTS = ("transform_param.distort_param", "transform_param.expand_param", "transform_param.emit_constraint")


def random_source() -> random.Random:
    """A generator for random choices on the host, seeded from the engine's generator."""
    seed = torch.randint(2 ** 31, (), generator=device.generator(), device=device.current_device())
    return random.Random(int(seed))


def own_turns(layer: Layer) -> Iterator[bool]:
    """For each record of an endless stream, whether this process reads it.

    In data-parallel training, each of N processes takes every N-th record; testing runs in a single process.
    """
    return (layer.phase == TEST or device.is_own_turn(number) for number in itertools.count())


def planes(image: np.ndarray) -> np.ndarray:
    """An image (H, W) or (H, W, C) as (C, H, W)."""
    return image[None] if image.ndim == 2 else image.transpose(2, 0, 1)


class View(NamedTuple):
    """The window of the original that a transformed image shows, and whether it is mirrored.

    window  x1, y1, x2, y2 normalised by the original; extends beyond it if the image is padded
    """

    window: np.ndarray
    is_mirrored: bool


class Transformer:
    """Applies transform_param: resize, crop, mirror, subtract the mean, multiply by scale.

    TRAIN crops at random and mirrors half of the images; TEST crops the centre. The mean is one value, one value per
    channel, or an image from `mean_file`, cropped at the same place. Raises LayerError.
    Source: src/caffe/data_transformer.cpp, of BVLC and of SSD.
    """

    def __init__(self, layer: Layer, source: random.Random) -> None:
        self.layer, self.random = layer, source
        self.param = layer.param.transform_param
        if self.param.mean_file and self.param.mean_value:
            layer.fail("transform_param: give either mean_file or mean_value")
        self.check_settings()
        self._resizes = list(self.param.resize_param)
        self._check_resizes()
        self.resize = self._resizes[0] if self._resizes else None       # that of the current batch
        self.mean = self._mean_image() if self.param.mean_file else None

    def check_settings(self) -> None:
        """Raise LayerError for settings of other transformers."""
        if self.param.crop_width or self.param.crop_height or self.param.scale_factors:
            self.layer.fail("transform_param: crop_width, crop_height and scale_factors are settings of ImageSegData")

    def _check_resizes(self) -> None:
        for param in self._resizes:
            check_resize(self.layer, param)
        total = sum(param.prob for param in self._resizes)
        if len(self._resizes) > 1 and not abs(total - 1) <= 0.01:
            self.layer.fail(f"the prob of {len(self._resizes)} resize_param must add up to 1, found {total:g}")

    def begin_batch(self) -> None:
        """Choose one of several resize_param for the images of the next batch."""
        if len(self._resizes) > 1:
            [self.resize] = self.random.choices(self._resizes, [param.prob for param in self._resizes])

    def _mean_image(self) -> np.ndarray:
        try:
            mean = read_binaryproto(self.param.mean_file)
        except WireError as error:
            self.layer.fail(f"cannot read mean_file: {error}")
        if mean.ndim < 3 or mean.ndim > 3 and mean.shape[:-3] != (1,) * (mean.ndim - 3):
            self.layer.fail(f"mean_file '{self.param.mean_file}': expected one image (channels, height, width), found "
                            f"shape {mean.shape}")
        return mean.reshape(mean.shape[-3:])

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a transformed image of shape (C, H, W)."""
        if self.resize is not None:
            shape = (shape[0], *resized_size(shape[1], shape[2], self.resize))
        crop = self.param.crop_size
        if crop > min(shape[1:]):
            self.layer.fail(f"crop_size {crop} is more than an image of {shape[1]} x {shape[2]}")
        return (shape[0], crop, crop) if crop else shape

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Transform one image (C, H, W) to float32."""
        return self.viewed(image)[0]

    def viewed(self, image: np.ndarray) -> tuple[np.ndarray, View]:
        """Transform one image (C, H, W) to float32; also returns its View."""
        size = self.output_shape(image.shape)[1:]
        window = np.array([0.0, 0, 1, 1])
        if self.resize is not None:
            window = resized_window(image.shape[1], image.shape[2], self.resize)
            image = planes(resized(self.layer, image.transpose(1, 2, 0), self.resize, self.random))
        part, is_mirrored = self._choice(image.shape, size)
        _, rows, columns = part
        shares = np.array([columns.start, rows.start, columns.stop, rows.stop]) / [*image.shape[:0:-1] * 2]
        start, extent = window[:2], window[2:] - window[:2]
        view = View(np.concatenate([start, start]) + shares * np.concatenate([extent, extent]), is_mirrored)
        return self._transformed(image, part, is_mirrored), view

    def pair(self, image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Transform an image (C, H, W), and crop and mirror its labels (1, H, W) alike; ignores resize_param."""
        part, is_mirrored = self._choice(image.shape, self.output_shape(image.shape)[1:])
        return self._transformed(image, part, is_mirrored), labels[part][:, :, ::-1 if is_mirrored else 1]

    def _choice(self, shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[tuple[slice, slice, slice], bool]:
        """Choose the crop of this size (height, width) in an image of this shape, and whether to mirror it."""
        height, width = size
        top, left = self._corner(shape[1] - height, shape[2] - width)
        part = (slice(None), slice(top, top + height), slice(left, left + width))
        return part, bool(self.param.mirror and self.random.randrange(2))

    def _transformed(self, image: np.ndarray, part: tuple[slice, slice, slice], is_mirrored: bool) -> np.ndarray:
        result = (image[part].astype(np.float32) - self._mean_for(image.shape, part)) * np.float32(self.param.scale)
        return result[:, :, ::-1] if is_mirrored else result

    def crops(self) -> bool:
        """Whether images are cropped."""
        return self.param.crop_size > 0

    def _corner(self, rows: int, columns: int) -> tuple[int, int]:
        if self.crops() and self.layer.phase == TRAIN:
            return self.random.randint(0, rows), self.random.randint(0, columns)
        return rows // 2, columns // 2

    def _mean_for(self, shape: tuple[int, ...], part: tuple[slice, ...]) -> np.ndarray:
        if self.mean is not None:
            if self.mean.shape != shape:
                self.layer.fail(f"mean_file is for images of shape {self.mean.shape}, found one of {shape}")
            return self.mean[part]
        return self.mean_values(shape[0])

    def mean_values(self, channels: int) -> np.ndarray:
        """mean_value as an array (1 or channels, 1, 1)."""
        values = np.array(self.param.mean_value or [0], np.float32)
        if len(values) not in (1, channels):
            self.layer.fail(f"expected one mean_value, or one for each of {channels} channels, found {len(values)}")
        return values[:, None, None]


class ImageLayer(Layer):
    """A layer whose tops are a batch of transformed images and, optionally, labels.

    Subclasses define `batch_size`, `references` and `read`. The shape of a batch is that of its images. After a record
    that cannot be read, the next pass continues with the following one.
    """

    exact_bottoms = 0
    min_tops = 1
    max_tops = 2
    batch_size = 0
    transformer_type = Transformer

    def references(self) -> Iterator[Any]:
        """An endless stream of arguments for `read`. An error ends it and is raised again in every later pass."""
        raise NotImplementedError(f"{type(self).__name__} has no references")

    def read(self, reference: Any) -> tuple[np.ndarray, Any]:
        """An image (C, H, W) with its label. Raises LayerError, after which the next record can be read."""
        raise NotImplementedError(f"{type(self).__name__} has no read")

    def labels_of_batch(self, labels: Sequence[Any]) -> np.ndarray:
        """The values of a further top, from the labels of each record."""
        return np.array(labels)

    def setup(self, bottom, top):
        if self.batch_size < 1:
            self.fail(f"batch_size must be given and at least 1, found {self.batch_size}")
        self.random = random_source()
        self.transformer = self.transformer_type(self, self.random)
        self._references = self.references()
        self._end: LayerError | None = None         # the error that ended the stream
        self._first: tuple[np.ndarray, Any] | None = None
        self._first = self._next()                  # its shape is needed before forward
        self._shape(top, self.transformer.output_shape(self._first[0].shape))

    def _shape(self, top, image_shape: tuple[int, ...]) -> None:
        top[0].reshape(self.batch_size, *image_shape)
        if len(top) > 1:
            top[1].reshape(self.batch_size)

    def reshape(self, bottom, top):
        """Nothing to do: forward sets the shapes, which may differ between batches."""

    def _next(self) -> tuple[np.ndarray, Any]:
        record, self._first = self._first, None
        return self.read(self._next_reference()) if record is None else record

    def _next_reference(self) -> Any:
        if self._end is not None:
            raise LayerError(str(self._end), self.name)
        try:
            return next(self._references)
        except LayerError as error:
            self._end = error
            raise

    def transformed(self, image: np.ndarray, label: Any) -> tuple[Any, ...]:
        """The values of one record for each top."""
        return self.transformer(image), label

    def forward(self, bottom, top):
        self.transformer.begin_batch()
        batch = [self.transformed(*self._next()) for _ in range(self.batch_size)]
        shapes = {image.shape for image, *_ in batch}
        if len(shapes) > 1:
            self.fail(f"the images of a batch need one shape, found {sorted(shapes)}; set crop_size "
                      "or resize_param, or batch_size: 1")
        self._shape(top, batch[0][0].shape)
        images, *labels = zip(*batch, strict=True)
        for blob, values in zip(top, [np.stack(images), *map(self.labels_of_batch, labels)], strict=False):
            blob.reshape(*values.shape)
            blob.tensor = to_tensor(values)

    def backward(self, top, propagate_down, bottom):
        """No bottoms."""


def to_tensor(array: np.ndarray) -> torch.Tensor:
    """A copy on the current device, in the engine's float type."""
    return device.send(torch.tensor(array, dtype=device.float_type()), device.current_device())
