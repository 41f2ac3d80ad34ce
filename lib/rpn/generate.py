"""Generates proposals for a data set with a trained RPN; datasets/proposals_file.py stores them."""
from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datasets.imdb import imdb as Imdb
from fast_rcnn.config import Config, cfg, check_one_scale
from fast_rcnn.net_settings import settings_of
from fast_rcnn.test import run_net
from roi_data_layer.features import FeatureSettings, reuse_features
from roi_data_layer.pyramids import Pyramid, pyramids_ahead
from utils import parallel
from utils.images import ImageSettings
from utils.other_caffe import FrozenPrefix, Net, keep_freed_memory, span
from utils.profiling import profiled
from utils.ragged import Spool
from utils.timer import Progress

_NOTHING = np.zeros((0, 5), np.float32)     # from processes without an image in the last round


@dataclass(frozen=True)
class GenerationSettings:
    """How a region proposal net is run over images."""

    images: ImageSettings
    features: FeatureSettings = field(compare=False)

    @classmethod
    def from_cfg(cls, settings: Config) -> GenerationSettings:
        """The settings in a cfg tree. Raises ConfigError for several scales."""
        check_one_scale(settings.TEST.SCALES)
        return cls(ImageSettings.from_cfg(settings, "TEST"), FeatureSettings.from_cfg(settings))


def im_proposals(net: Net, im: np.ndarray,
                 settings: GenerationSettings | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Proposals for one image.

    net       a test net with inputs `data` and `im_info`, outputs `rois` and `scores`
    im        (height, width, 3) BGR
    settings  default: those bound to the net (see `net_settings`), else those of cfg
    returns   boxes (R, 4) in image pixels, scores (R, 1), by descending score
    """
    settings = settings or settings_of(net, GenerationSettings.from_cfg(cfg))
    return _proposals(net, Pyramid.of(im, settings.images))


def _proposals(net: Net, image: Pyramid) -> tuple[np.ndarray, np.ndarray]:
    outputs = run_net(net, image.rpn_inputs())
    return outputs["rois"][:, 1:5] / np.float32(image.scales[0]), outputs["scores"].copy()


def imdb_proposals(net: Net, imdb: Imdb, profile: Path | None = None, features: str | os.PathLike | None = None,
                   settings: GenerationSettings | None = None) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Boxes and scores of `im_proposals` for every image of a data set: read-only, in temporary files.

    In a parallel run only the first process returns them; the others return empty lists.

    profile   see `profiled`
    features  folder in which training may have cached the outputs of the net's frozen layers
    settings  see `im_proposals`
    """
    settings = settings or settings_of(net, GenerationSettings.from_cfg(cfg))
    keep_freed_memory()
    prefix = reuse_features(net, features, imdb.num_images, settings.features) if features else None
    with Spool((4,), np.float32) as boxes, Spool((1,), np.float32) as scores:
        for image_boxes, image_scores in _of_each_image(net, imdb, settings.images, prefix, profile):
            boxes.append(image_boxes)
            scores.append(image_scores)
        return list(boxes.ragged()), list(scores.ragged())


def _of_each_image(net: Net, imdb: Imdb, settings: ImageSettings, prefix: FrozenPrefix | None,
                   profile: Path | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Boxes and scores of each image. Each of N processes computes every N-th; the first process gets all, in order."""
    progress = Progress("im_proposals", imdb.num_images)
    own = range(parallel.rank(), imdb.num_images, parallel.count())
    with pyramids_ahead(imdb, settings, own) as pyramids, profiled(net, profile, len(own)) as iteration:
        for start in range(0, imdb.num_images, parallel.count()):
            with iteration():
                own_table = _of_next(net, pyramids, prefix)
            for table in parallel.collect(own_table)[:imdb.num_images - start]:
                yield table[:, :4], table[:, 4:]
                progress.step()


def _of_next(net: Net, pyramids: Iterator[Pyramid], prefix: FrozenPrefix | None) -> np.ndarray:
    """(R, 5) boxes and scores of the next image; no rows after the last image."""
    with span("data wait"):
        image = next(pyramids, None)
    if image is None:
        return _NOTHING
    if prefix:
        prefix.next_batch([image.key], [image.data.shape[2:]])
    return np.hstack(_proposals(net, image))
