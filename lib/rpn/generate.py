"""Proposals of a trained region proposal network for a data set, and the files that keep them."""
from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

import caffe
from fast_rcnn import parallel
from fast_rcnn.config import cfg, check_one_scale
from roi_data_layer.minibatch import read_image
from utils.blob import image_pyramid
from utils.npz import read_npz, texts, write_npz
from utils.timer import Progress


def im_proposals(net: Any, im: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Proposals for one image.

    net      a test net with inputs `data` and `im_info`, outputs `rois` and `scores`
    im       (height, width, 3) BGR
    returns  boxes (R, 4) in image pixels, scores (R, 1), by descending score
    """
    check_one_scale()
    data, scales = image_pyramid(im, cfg.PIXEL_MEANS, cfg.TEST.SCALES, cfg.TEST.MAX_SIZE, cfg.PIXEL_STDS)
    im_info = np.array([[*data.shape[2:], scales[0]]], np.float32)
    net.blobs["data"].reshape(*data.shape)
    net.blobs["im_info"].reshape(*im_info.shape)
    outputs = net.forward(data=data, im_info=im_info)
    return outputs["rois"][:, 1:5] / np.float32(scales[0]), outputs["scores"].copy()


def imdb_proposals(net: Any, imdb: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Boxes and scores of `im_proposals` for every image of a data set.

    Of N processes each does every N-th image; the first one gets all, the others nothing.
    """
    boxes, scores = [], []
    own = range(parallel.rank(), imdb.num_images, parallel.count())
    progress = Progress("im_proposals", len(own))
    for index in own:
        image_boxes, image_scores = im_proposals(net, read_image(imdb.image_path_at(index)))
        boxes.append(image_boxes)
        scores.append(image_scores)
        progress.step()
    return (boxes, scores) if parallel.count() == 1 else _collect(boxes, scores)


def _collect(boxes: Sequence[np.ndarray], scores: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What all processes found, image after image, in the first one."""
    counts = caffe.gather_arrays(np.array([len(rows) for rows in boxes], np.int64))
    table = np.concatenate([np.zeros((0, 5), np.float32), *map(np.hstack, zip(boxes, scores, strict=True))])
    tables = caffe.gather_arrays(table)
    shares = [np.split(table, np.cumsum(lengths)[:-1]) if len(lengths) else []
              for table, lengths in zip(tables, counts, strict=True)]
    images = [share[row] for row in range(len(shares[0])) for share in shares if row < len(share)] if shares else []
    return [rows[:, :4] for rows in images], [rows[:, 4:] for rows in images]


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
