"""Makes the blobs of one minibatch from roidb entries (see datasets/roidb.py and roi_data_layer/roidb.py).

Settings arrive as `settings`, a cfg tree: TRAIN.*, PIXEL_MEANS and PIXEL_STDS are read. For callers of py-faster-rcnn's
functions they default to cfg, and `rng` to a generator that cfg.RNG_SEED makes anew in each call.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from datasets.roidb import Entry
from fast_rcnn.bbox_transform import per_class_targets
from fast_rcnn.config import cfg
from roi_data_layer.ohem import get_ohem_minibatch, select_hard_examples  # noqa: F401  # where others look for them
from utils.blob import im_list_to_blob
from utils.images import Reader, image_request, read_in_line

Blobs = dict[str, np.ndarray]


def get_minibatch(roidb: Sequence[Entry], num_classes: int, settings: Any = None,
                  rng: np.random.Generator | None = None, read: Reader = read_in_line) -> Blobs:
    """Blobs of the images in `roidb`.

    With TRAIN.HAS_RPN: `data`, `im_info`, `gt_boxes`. Otherwise `data` and TRAIN.BATCH_SIZE sampled RoIs, the same
    number from every image (fewer where an image has not enough): see `roi_blobs` and `sample_rois`.
    `rng` draws the scale of each image, then the RoIs; `read` prepares the images.
    """
    settings, rng = _or_defaults(settings, rng)
    train = settings.TRAIN
    data, sizes, scales = read_images(roidb, settings, rng, read)
    blobs = {"data": data}
    if train.HAS_RPN:
        return {**blobs, **rpn_blobs(roidb, sizes, scales)}
    per_image = train.BATCH_SIZE // len(roidb)
    most_foreground = int(np.round(train.FG_FRACTION * per_image))
    picks = [sample_rois(entry["max_overlaps"], most_foreground, per_image, train, rng) for entry in roidb]
    return {**blobs, **roi_blobs(roidb, picks, scales, num_classes, train)}


def get_allrois_minibatch(roidb: Sequence[Entry], num_classes: int, settings: Any = None,
                          rng: np.random.Generator | None = None, read: Reader = read_in_line) -> Blobs:
    """Blobs with all RoIs, for hard example mining: per image foreground, then background.

    RoIs between BG_THRESH_HI and FG_THRESH are left out. `rng` draws the scale of each image; `read` prepares
    the images.
    """
    settings, rng = _or_defaults(settings, rng)
    data, _, scales = read_images(roidb, settings, rng, read)
    picks = [split_rois(entry["max_overlaps"], settings.TRAIN) for entry in roidb]
    return {"data": data, **roi_blobs(roidb, picks, scales, num_classes, settings.TRAIN)}


def _or_defaults(settings: Any, rng: np.random.Generator | None) -> tuple[Any, np.random.Generator]:
    settings = settings or cfg
    return settings, rng or np.random.default_rng(settings.RNG_SEED)


def read_images(roidb: Sequence[Entry], settings: Any, rng: np.random.Generator,
                read: Reader = read_in_line) -> tuple[np.ndarray, list[tuple[int, int]], list[float]]:
    """Read, mirror if `flipped`, and prepare each image at one of TRAIN.SCALES.

    Returns their blob, the height and width of each image in it, and the scales. Raises ImageError.
    """
    train = settings.TRAIN
    sizes = rng.choice(np.asarray(train.SCALES), size=len(roidb))
    requests = [image_request(entry["image"], entry["flipped"], size, train.MAX_SIZE, settings)
                for entry, size in zip(roidb, sizes, strict=True)]
    with read(requests) as images:
        return (im_list_to_blob([image.pixels for image in images]),
                [image.pixels.shape[:2] for image in images], [image.scale for image in images])


def rpn_blobs(roidb: Sequence[Entry], sizes: Sequence[tuple[int, int]], scales: Sequence[float]) -> Blobs:
    """Blobs for training a region proposal network, of images with these sizes (height, width) and scales.

    im_info   (N, 3) height and width of each image as scaled, without padding, and its scale
    gt_boxes  (G, 5) x1, y1, x2, y2 in the scaled image, class; for N > 1 a sixth column, the image's index
    """
    info = [(*size, scale) for size, scale in zip(sizes, scales, strict=True)]
    rows = []
    for index, (entry, scale) in enumerate(zip(roidb, scales, strict=True)):
        objects = np.flatnonzero(entry["gt_classes"])
        columns = [entry["boxes"][objects] * scale, entry["gt_classes"][objects, None]]
        rows.append(np.hstack(columns + [np.full((len(objects), 1), index)] * (len(roidb) > 1)))
    return {"im_info": np.array(info, np.float32), "gt_boxes": np.concatenate(rows).astype(np.float32)}


def split_rois(overlaps: np.ndarray, train: Any) -> tuple[np.ndarray, np.ndarray]:
    """Indices of foreground (IoU >= FG_THRESH) and background RoIs (IoU in [BG_THRESH_LO, BG_THRESH_HI)).

    With BG_THRESH_HI > FG_THRESH a RoI would be both; it counts as foreground only.
    """
    foreground = overlaps >= train.FG_THRESH
    background = (overlaps >= train.BG_THRESH_LO) & (overlaps < train.BG_THRESH_HI) & ~foreground
    return np.flatnonzero(foreground), np.flatnonzero(background)


def sample_rois(overlaps: np.ndarray, most_foreground: int, total: int, train: Any,
                rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random foreground (at most `most_foreground`) and background indices, `total` in all."""
    foreground, background = split_rois(overlaps, train)
    foreground = _draw(foreground, most_foreground, rng)
    return foreground, _draw(background, total - len(foreground), rng)


def _draw(indices: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    if len(indices) <= most:
        return indices
    return np.sort(rng.choice(indices, size=most, replace=False))


def roi_blobs(roidb: Sequence[Entry], picks: Sequence[tuple[np.ndarray, np.ndarray]], scales: Sequence[float],
              num_classes: int, train: Any) -> Blobs:
    """Blobs of the picked RoIs; `picks` holds indices of foreground and background per image.

    rois      (R, 5) index of the image, x1, y1, x2, y2 in the scaled image
    labels    (R,) class of a foreground RoI, 0 for background
    and, if TRAIN.BBOX_REG, (R, 4 * num_classes) each:
    bbox_targets          the entry's normalised targets in the columns of their class; 0 for RoIs with an IoU
                          below BBOX_THRESH (which may be lower than FG_THRESH: such background RoIs
                          train regression all the same)
    bbox_inside_weights   TRAIN.BBOX_INSIDE_WEIGHTS in these columns
    bbox_outside_weights  1 where the inside weight is above 0
    """
    rows = [_roi_rows(index, entry, *pick, scale)
            for index, (entry, pick, scale) in enumerate(zip(roidb, picks, scales, strict=True))]
    rois, labels, targets = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    blobs = {"rois": rois.astype(np.float32), "labels": labels.astype(np.float32)}
    if train.BBOX_REG:
        expanded, weights = per_class_targets(targets[:, 0], targets[:, 1:], num_classes,
                                              train.BBOX_INSIDE_WEIGHTS)
        blobs.update(bbox_targets=expanded, bbox_inside_weights=weights,
                     bbox_outside_weights=(weights > 0).astype(np.float32))
    return blobs


def _roi_rows(index: int, entry: Entry, foreground: np.ndarray, background: np.ndarray,
              scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RoIs, labels and target rows (class, dx, dy, dw, dh) of one image, foreground first."""
    picked = np.concatenate([foreground, background])
    rois = np.hstack([np.full((len(picked), 1), index), entry["boxes"][picked] * scale])
    labels = entry["max_classes"][picked]
    labels[len(foreground):] = 0
    targets = entry["bbox_targets"][picked] if "bbox_targets" in entry else np.zeros((len(picked), 5), np.float32)
    return rois, labels, targets
