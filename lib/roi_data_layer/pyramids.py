"""Prefetches the images of a data set, prepared for testing and proposal generation."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from datasets.imdb import imdb as Imdb
from roi_data_layer.features import image_key
from roi_data_layer.prefetch import ImageFeed
from utils.blob import im_list_to_blob
from utils.images import ImageSettings, Reader, image_request, most_pixels, prepare_pyramid


class Pyramid(NamedTuple):
    """One image at several sizes."""

    data: np.ndarray            # (levels, 3, H, W), see `image_pyramid`
    scales: np.ndarray          # (levels,)
    file_size: tuple[int, int]  # height and width before scaling
    key: str = ""               # identifies the pixels of level 0, see `image_key`

    @classmethod
    def of(cls, im: np.ndarray, settings: ImageSettings) -> Pyramid:
        """An image (height, width, 3) BGR, prepared."""
        return cls(*prepare_pyramid(im, settings), im.shape[:2])

    def rpn_inputs(self) -> dict[str, np.ndarray]:
        """Inputs of a net with an RPN: data and im_info (1, 3) height, width, scale. There must be one level."""
        return {"data": self.data, "im_info": np.array([[*self.data.shape[2:], self.scales[0]]], np.float32)}


@contextlib.contextmanager
def pyramids_ahead(imdb: Imdb, settings: ImageSettings,
                   images: Sequence[int] | None = None) -> Iterator[Iterator[Pyramid]]:
    """Every image of a data set in order, at all scales; the next images are prepared in the background.

    images  indices of the images to return, in order; None: all
    Raises ImageError on reaching an image that cannot be read.
    """
    sizes = settings.scales
    wanted = range(imdb.num_images) if images is None else images

    def make(number: int, read: Reader) -> Pyramid:
        path = imdb.image_path_at(wanted[number])
        requests = [image_request(path, False, size, settings) for size in sizes]
        with read(requests) as levels:
            return Pyramid(im_list_to_blob([level.pixels for level in levels]),
                           np.array([level.scale for level in levels]), levels[0].file_size, image_key(requests[0]))

    feed = ImageFeed(make, settings.workers, len(sizes), most_pixels(sizes, settings.max_size), len(wanted))
    with contextlib.closing(feed):
        yield (feed.next() for _ in wanted)
