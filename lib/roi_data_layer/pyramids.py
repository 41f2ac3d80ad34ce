"""The images of a data set as tests and proposal generation feed them to a net, read ahead of their use."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from roi_data_layer.features import image_key
from roi_data_layer.prefetch import ImageFeed
from utils.blob import im_list_to_blob
from utils.images import Reader, image_request, most_pixels


class Pyramid(NamedTuple):
    """One image at several sizes."""

    data: np.ndarray            # (levels, 3, H, W), see `image_pyramid`
    scales: np.ndarray          # (levels,)
    file_size: tuple[int, int]  # height and width before scaling
    key: str = ""               # stands for the pixels of level 0, see `image_key`


@contextlib.contextmanager
def pyramids_ahead(imdb: Any, settings: Any, images: Sequence[int] | None = None) -> Iterator[Iterator[Pyramid]]:
    """Every image of a data set in order, at the sizes of TEST.SCALES; the next ones are prepared in the background.

    images  indices of those that are wanted, in order; None for all
    `settings` is a cfg tree: TEST.SCALES, TEST.MAX_SIZE, PIXEL_MEANS, PIXEL_STDS and NUM_WORKERS are read.
    Asking for an image that cannot be read raises ImageError.
    """
    sizes, max_size = settings.TEST.SCALES, settings.TEST.MAX_SIZE

    wanted = range(imdb.num_images) if images is None else images

    def make(number: int, read: Reader) -> Pyramid:
        path = imdb.image_path_at(wanted[number])
        requests = [image_request(path, False, size, max_size, settings) for size in sizes]
        with read(requests) as levels:
            return Pyramid(im_list_to_blob([level.pixels for level in levels]),
                           np.array([level.scale for level in levels]), levels[0].file_size, image_key(requests[0]))

    feed = ImageFeed(make, settings.NUM_WORKERS, len(sizes), most_pixels(sizes, max_size), len(wanted))
    with contextlib.closing(feed):
        yield (feed.next() for _ in wanted)
