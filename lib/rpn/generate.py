"""Proposals of a trained region proposal network for a data set; the files that keep them: proposals_file.py."""
from __future__ import annotations

from typing import Any

import numpy as np

from fast_rcnn.config import cfg, check_one_scale
from roi_data_layer.minibatch import read_image
from rpn.proposals_file import load_proposals as load_proposals
from rpn.proposals_file import save_proposals as save_proposals
from utils.blob import image_pyramid
from utils.ragged import Spool
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
    """Boxes and scores of `im_proposals` for every image of a data set: read-only, in temporary files."""
    progress = Progress("im_proposals", imdb.num_images)
    with Spool((4,), np.float32) as boxes, Spool((1,), np.float32) as scores:
        for index in range(imdb.num_images):
            image_boxes, image_scores = im_proposals(net, read_image(imdb.image_path_at(index)))
            boxes.append(image_boxes)
            scores.append(image_scores)
            progress.step()
        return list(boxes.ragged()), list(scores.ragged())
