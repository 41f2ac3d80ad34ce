"""Builds the blobs of one minibatch from roidb entries (see datasets/roidb.py and roi_data_layer/roidb.py).

To keep py-faster-rcnn's signatures, settings default to those of cfg, and `rng` to a generator that is seeded with
cfg.RNG_SEED in each call.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datasets.roidb import Entry
from fast_rcnn.bbox_transform import num_box_classes, per_class_targets
from fast_rcnn.config import Config, cfg
from roi_data_layer.crops import crop_entries
from roi_data_layer.ohem import get_ohem_minibatch, select_hard_examples  # noqa: F401  # re-exported
from roi_data_layer.roidb import ignored_rois
from roi_data_layer.sampling import RoISettings, sample_rois, split_rois
from utils.blob import im_list_to_blob
from utils.images import ImageSettings, Reader, image_request, read_in_line

Blobs = dict[str, np.ndarray]


@dataclass(frozen=True)
class MinibatchSettings:
    """The contents of minibatches; names as in cfg.TRAIN."""

    images: ImageSettings
    rois: RoISettings
    has_rpn: bool
    use_ohem: bool                          # all RoIs instead of a sample
    inside_weights: Sequence[float] | None  # of box regression; None: no box regression
    ims_per_batch: int
    aspect_grouping: bool
    use_prefetch: bool
    seed: int
    crop: float = 0.0                       # maximum share of an image's width and height to cut off
    agnostic: bool = False                  # classes share their boxes: box blobs have 8 columns

    @classmethod
    def from_cfg(cls, settings: Config) -> MinibatchSettings:
        """The settings in a cfg tree."""
        train = settings.TRAIN
        return cls(ImageSettings.from_cfg(settings, "TRAIN"), RoISettings.from_cfg(train), train.HAS_RPN,
                   train.USE_OHEM, train.BBOX_INSIDE_WEIGHTS if train.BBOX_REG else None, train.IMS_PER_BATCH,
                   train.ASPECT_GROUPING, train.USE_PREFETCH, settings.RNG_SEED, train.CROP, train.AGNOSTIC)


def get_minibatch(roidb: Sequence[Entry], num_classes: int, settings: MinibatchSettings | None = None,
                  rng: np.random.Generator | None = None, read: Reader = read_in_line) -> Blobs:
    """Blobs of the images in `roidb`.

    With `has_rpn`: `data`, `im_info`, `gt_boxes`. Otherwise `data` and `rois.batch_size` sampled RoIs, the same
    number from every image (fewer if an image has too few): see `roi_blobs` and `sample_rois`.
    `rng` draws the crops, if any, the scale of each image, then the RoIs; `read` prepares the images.
    """
    settings, rng = _or_defaults(settings, rng)
    roidb = crop_entries(roidb, settings.crop, rng)
    data, sizes, scales = read_images(roidb, settings.images, rng, read)
    blobs = {"data": data}
    if settings.has_rpn:
        return {**blobs, **rpn_blobs(roidb, sizes, scales, settings.rois.ignored_overlap > 0)}
    per_image = settings.rois.batch_size // len(roidb)
    picks = [sample_rois(entry["max_overlaps"], per_image, settings.rois, rng, ignored_rois(entry, settings.rois))
             for entry in roidb]
    box_classes = num_box_classes(num_classes, settings.agnostic)
    return {**blobs, **roi_blobs(roidb, picks, scales, box_classes, settings.inside_weights)}


def get_allrois_minibatch(roidb: Sequence[Entry], num_classes: int, settings: MinibatchSettings | None = None,
                          rng: np.random.Generator | None = None, read: Reader = read_in_line) -> Blobs:
    """Blobs with all RoIs, for hard example mining: per image foreground, then background.

    RoIs that are neither (see `split_rois`) are dropped. `rng` draws the crops, if any, and the scale of each image;
    `read` prepares the images.
    """
    settings, rng = _or_defaults(settings, rng)
    roidb = crop_entries(roidb, settings.crop, rng)
    data, _, scales = read_images(roidb, settings.images, rng, read)
    picks = [split_rois(entry["max_overlaps"], settings.rois, ignored_rois(entry, settings.rois)) for entry in roidb]
    box_classes = num_box_classes(num_classes, settings.agnostic)
    return {"data": data, **roi_blobs(roidb, picks, scales, box_classes, settings.inside_weights)}


def _or_defaults(settings: MinibatchSettings | None,
                 rng: np.random.Generator | None) -> tuple[MinibatchSettings, np.random.Generator]:
    settings = settings or MinibatchSettings.from_cfg(cfg)
    return settings, rng or np.random.default_rng(settings.seed)


def read_images(roidb: Sequence[Entry], settings: ImageSettings, rng: np.random.Generator,
                read: Reader = read_in_line) -> tuple[np.ndarray, list[tuple[int, int]], list[float]]:
    """Read each image, mirror it if `flipped`, flip it vertically if `upside_down`, and scale it to one of the scales.

    If an entry has a `window`, the image is cropped to it. `rng` draws the scales and, with jitter, its factors.
    Returns the images' blob, the height and width of each image in it, and the scales. Raises ImageError.
    """
    sizes = draw_sizes(len(roidb), settings, rng)
    colours = _factors(rng, settings.colour_jitter, (len(roidb), 3)) if settings.colour_jitter else [()] * len(roidb)
    requests = [image_request(entry["image"], entry["flipped"], size, settings, entry.get("upside_down", False), colour,
                              entry.get("window", ()))
                for entry, size, colour in zip(roidb, sizes, colours, strict=True)]
    with read(requests) as images:
        return (im_list_to_blob([image.pixels for image in images]),
                [image.pixels.shape[:2] for image in images], [image.scale for image in images])


def draw_sizes(count: int, settings: ImageSettings, rng: np.random.Generator) -> np.ndarray:
    """Draw a size for each image of a minibatch, (count,): one of the scales, jittered if `scale_jitter` is set.

    These are the first draws from the minibatch's generator after the crops.
    """
    sizes = rng.choice(np.asarray(settings.scales), size=count)
    if settings.scale_jitter:
        sizes = np.maximum(np.rint(sizes * _factors(rng, settings.scale_jitter, count)), 1)
    return sizes


def _factors(rng: np.random.Generator, jitter: float, shape: int | tuple[int, ...]) -> np.ndarray:
    return rng.uniform(1 - jitter, 1 + jitter, shape)


def rpn_blobs(roidb: Sequence[Entry], sizes: Sequence[tuple[int, int]], scales: Sequence[float],
              with_ignored: bool = False) -> Blobs:
    """Blobs for training a region proposal network on images with these sizes (height, width) and scales.

    im_info   (N, 3) height and width of each image as scaled, without padding, and its scale
    gt_boxes  (G, 5) x1, y1, x2, y2 in the scaled image, class; for N > 1 a sixth column, the image's index;
              with `with_ignored` also the entries' ignored boxes, with class -1
    """
    info = [(*size, scale) for size, scale in zip(sizes, scales, strict=True)]
    rows = []
    for index, (entry, scale) in enumerate(zip(roidb, scales, strict=True)):
        objects = np.flatnonzero(entry["gt_classes"])
        columns = [entry["boxes"][objects] * scale, entry["gt_classes"][objects, None]]
        rows.append(np.hstack(columns + [np.full((len(objects), 1), index)] * (len(roidb) > 1)))
        ignored = entry.get("ignored") if with_ignored else None
        if ignored is not None:
            rows.append(np.hstack([ignored * scale, np.tile([-1, index], (len(ignored), 1))])[:, :rows[-1].shape[1]])
    return {"im_info": np.array(info, np.float32), "gt_boxes": np.concatenate(rows).astype(np.float32)}


def roi_blobs(roidb: Sequence[Entry], picks: Sequence[tuple[np.ndarray, np.ndarray]], scales: Sequence[float],
              box_classes: int, inside_weights: Sequence[float] | None) -> Blobs:
    """Blobs of the picked RoIs; `picks` holds indices of foreground and background per image.

    rois      (R, 5) index of the image, x1, y1, x2, y2 in the scaled image
    labels    (R,) class of a foreground RoI, 0 for background
    and, if inside weights are given, (R, 4 * box_classes) each:
    bbox_targets          the entry's normalised targets in the columns of their class; 0 for RoIs with an IoU
                          below BBOX_THRESH (if that is below FG_THRESH, background RoIs above it still train
                          regression)
    bbox_inside_weights   the four given weights in these columns
    bbox_outside_weights  1 where the inside weight is above 0
    """
    rows = [_roi_rows(index, entry, *pick, scale)
            for index, (entry, pick, scale) in enumerate(zip(roidb, picks, scales, strict=True))]
    rois, labels, targets = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    blobs = {"rois": rois.astype(np.float32), "labels": labels.astype(np.float32)}
    if inside_weights is not None:
        expanded, weights = per_class_targets(targets[:, 0], targets[:, 1:], box_classes, inside_weights)
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
