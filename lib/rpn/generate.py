"""Proposals of a trained region proposal network for a data set, and the files that keep them."""
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import caffe
from fast_rcnn import parallel
from fast_rcnn.checks import check_outputs
from fast_rcnn.config import cfg, check_one_scale
from fast_rcnn.lean import make_lean
from fast_rcnn.profiling import profiled, span
from roi_data_layer.features import reuse_features
from roi_data_layer.pyramids import Pyramid, pyramids_ahead
from utils.blob import image_pyramid
from utils.npz import read_npz, texts, write_npz
from utils.timer import Progress

_NOTHING = np.zeros((0, 5), np.float32)     # where the last images do not go round


def load_rpn(net_file: str | os.PathLike, weights: str | os.PathLike) -> Any:
    """A region proposal net for `im_proposals`. Raises CheckError if it lacks one of the outputs."""
    net = caffe.Net(os.fspath(net_file), caffe.TEST, weights=os.fspath(weights))
    check_outputs(net, net_file, "rois", "scores")
    return make_lean(net)


def im_proposals(net: Any, im: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Proposals for one image.

    net      a test net with inputs `data` and `im_info`, outputs `rois` and `scores`
    im       (height, width, 3) BGR
    returns  boxes (R, 4) in image pixels, scores (R, 1), by descending score
    """
    check_one_scale()
    data, scales = image_pyramid(im, cfg.PIXEL_MEANS, cfg.TEST.SCALES, cfg.TEST.MAX_SIZE, cfg.PIXEL_STDS)
    return _proposals(net, data, scales)


def _proposals(net: Any, data: np.ndarray, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    im_info = np.array([[*data.shape[2:], scales[0]]], np.float32)
    net.blobs["data"].reshape(*data.shape)
    net.blobs["im_info"].reshape(*im_info.shape)
    outputs = net.forward(data=data, im_info=im_info)
    return outputs["rois"][:, 1:5] / np.float32(scales[0]), outputs["scores"].copy()


def imdb_proposals(net: Any, imdb: Any, profile: Path | None = None,
                   features: str | os.PathLike | None = None) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Boxes and scores of `im_proposals` for every image of a data set; of several processes, only in the first.

    profile   see `profiled`
    features  folder in which a training may have left what the frozen layers of the net make of the images
    """
    check_one_scale()
    prefix = reuse_features(net, features, imdb.num_images, cfg) if features else None
    found = list(_of_each_image(net, imdb, prefix, profile))
    return [boxes for boxes, _ in found], [scores for _, scores in found]


def _of_each_image(net: Any, imdb: Any, prefix: Any,
                   profile: Path | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Boxes and scores of image after image. Of N processes each makes every N-th; the first one gets all, in order."""
    progress = Progress("im_proposals", imdb.num_images)
    own = range(parallel.rank(), imdb.num_images, parallel.count())
    with pyramids_ahead(imdb, cfg, own) as pyramids, profiled(net, profile, len(own)) as iteration:
        for start in range(0, imdb.num_images, parallel.count()):
            with iteration():
                own_table = _of_next(net, pyramids, prefix)
            for table in parallel.collect(own_table)[:imdb.num_images - start]:
                yield table[:, :4], table[:, 4:]
                progress.step()


def _of_next(net: Any, pyramids: Iterator[Pyramid], prefix: Any) -> np.ndarray:
    """(R, 5) boxes and scores of the next image; none where there is no next one."""
    with span("data wait"):
        image = next(pyramids, None)
    if image is None:
        return _NOTHING
    if prefix:
        prefix.next_batch([image.key], [image.data.shape[2:]])
    return np.hstack(_proposals(net, image.data, image.scales))


def save_proposals(path: str | os.PathLike, boxes: Sequence[np.ndarray], scores: Sequence[np.ndarray],
                   image_index: Sequence[str]) -> None:
    """Store the proposals of each image in an .npz file.

    It holds `boxes` (n, 4) and `scores` (n,) float32, image after image, `counts` (I,), and names `images`.
    """
    counts = np.array([len(rows) for rows in boxes], np.int64)
    if not len(counts) == len(scores) == len(image_index):
        raise ValueError(f"{len(counts)} images of boxes, {len(scores)} of scores, {len(image_index)} names")
    flat_boxes = np.concatenate([np.zeros((0, 4), np.float32), *boxes])
    flat_scores = np.concatenate([np.zeros(0, np.float32), *(np.reshape(rows, -1) for rows in scores)])
    write_npz(path, boxes=flat_boxes.astype(np.float32), scores=flat_scores.astype(np.float32), counts=counts,
              images=texts(image_index))


def load_proposals(path: str | os.PathLike,
                   image_index: Sequence[str] | None = None) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Boxes (R, 4) and scores (R,) of each image from a file of `save_proposals`.

    image_index  names of the images that are wanted, in order; None for those of the file
    Raises ValueError if it is no such file or an image is not in it.
    """
    boxes, scores, counts, images = read_npz(path, "proposals", "boxes", "scores", "counts", "images")
    splits = np.cumsum(counts)[:-1]
    of_image = list(zip(np.split(boxes, splits), np.split(scores, splits), strict=True))
    if image_index is not None and list(image_index) != images.tolist():
        of_image = _select(dict(zip(images.tolist(), of_image, strict=True)), image_index, path)
    return [boxes for boxes, _ in of_image], [scores for _, scores in of_image]


def _select(by_name: dict[str, Any], image_index: Sequence[str], path: str | os.PathLike) -> list[Any]:
    missing = [name for name in image_index if name not in by_name]
    if missing:
        raise ValueError(f"{path}: no proposals for {len(missing)} of {len(image_index)} images, such as "
                         f"{missing[0]!r}: generate proposals for this data set")
    return [by_name[name] for name in image_index]
