"""Training targets of the region proposal network: the label and the box regression targets of each anchor.

Source: Ren et al., "Faster R-CNN", section 3.1.2; py-faster-rcnn's rpn/anchor_target_layer.py.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fast_rcnn.bbox_transform import bbox_transform
from fast_rcnn.config import Config
from roi_data_layer.sampling import on_ignored
from utils.cython_bbox import bbox_overlaps


@dataclass(frozen=True)
class AnchorSettings:
    """The rules of labelling; names and defaults are those of cfg.TRAIN.RPN_*."""

    positive_overlap: float = 0.7
    negative_overlap: float = 0.3
    clobber_positives: bool = False
    batch_size: int = 256
    fg_fraction: float = 0.5
    inside_weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)
    positive_weight: float = -1.0
    allowed_border: float = 0       # pixels by which an anchor may extend beyond the image; a layer parameter
    ignored_overlap: float = 0.0    # see `roi_data_layer.sampling.on_ignored`
    # Means and standard deviations (4,) to normalise targets by; None: targets are not normalised
    statistics: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def from_cfg(cls, train: Config, allowed_border: float = 0) -> AnchorSettings:
        """The settings in cfg.TRAIN."""
        return cls(train.RPN_POSITIVE_OVERLAP, train.RPN_NEGATIVE_OVERLAP, train.RPN_CLOBBER_POSITIVES,
                   train.RPN_BATCHSIZE, train.RPN_FG_FRACTION, train.RPN_BBOX_INSIDE_WEIGHTS,
                   train.RPN_POSITIVE_WEIGHT, allowed_border, train.IGNORED_OVERLAP)


def anchors_inside(anchors: np.ndarray, im_info: Sequence[float], border: float = 0) -> np.ndarray:
    """Indices of the anchors that extend at most `border` pixels beyond an image of im_info[:2] (height, width)."""
    height, width = im_info[0], im_info[1]
    x1, y1, x2, y2 = anchors.T
    return np.flatnonzero((x1 >= -border) & (y1 >= -border) & (x2 < width + border) & (y2 < height + border))


def label_anchors(overlaps: np.ndarray, settings: AnchorSettings) -> np.ndarray:
    """Labels by overlap: 1 object, 0 background, -1 neither.

    A background anchor is below negative_overlap with every gt box; an object reaches positive_overlap with one, or
    has the highest overlap of all anchors with some gt box (including ties). With clobber_positives background
    overrides object. A gt box that overlaps no anchor makes no anchor an object (in py-faster-rcnn it makes all
    anchors that miss it objects).

    overlaps  (n, G) IoU of anchors and gt boxes; if G is 0, all anchors are background
    returns   (n,) float32
    """
    labels = np.full(len(overlaps), -1, np.float32)
    best = overlaps.max(axis=1, initial=0.0)
    background = best < settings.negative_overlap
    best_of_gt = overlaps.max(axis=0, initial=0.0)
    closest = ((overlaps == best_of_gt) & (best_of_gt > 0)).any(axis=1)
    labels[background] = 0
    labels[closest | (best >= settings.positive_overlap)] = 1
    if settings.clobber_positives:
        labels[background] = 0
    return labels


def subsample_labels(labels: np.ndarray, settings: AnchorSettings, rng: np.random.Generator) -> np.ndarray:
    """Labels with at most fg_fraction * batch_size objects, background up to batch_size, and the rest -1."""
    labels = labels.copy()
    drop_surplus(labels, 1, int(settings.fg_fraction * settings.batch_size), rng)
    drop_surplus(labels, 0, settings.batch_size - np.count_nonzero(labels == 1), rng)
    return labels


def drop_surplus(labels: np.ndarray, label: int, limit: int, rng: np.random.Generator) -> None:
    """Set randomly chosen entries that equal `label` to -1, in place, so that `limit` are left."""
    found = np.flatnonzero(labels == label)
    if len(found) > limit:
        labels[rng.permutation(found)[limit:]] = -1


def example_weights(labels: np.ndarray, positive_weight: float) -> np.ndarray:
    """Weight of each anchor in the regression loss.

    1 / (number of objects + number of background anchors) or, with a positive_weight p >= 0, p / objects for objects
    and (1 - p) / background for background. Anchors with label -1 have weight 0.
    """
    is_fg, is_bg = labels == 1, labels == 0
    num_fg, num_bg = int(is_fg.sum()), int(is_bg.sum())
    if positive_weight < 0:
        fg_weight = bg_weight = 1.0 / max(num_fg + num_bg, 1)
    else:
        fg_weight, bg_weight = positive_weight / max(num_fg, 1), (1 - positive_weight) / max(num_bg, 1)
    return (fg_weight * is_fg + bg_weight * is_bg).astype(np.float32)


def anchor_targets(
        gt_boxes: np.ndarray, im_info: Sequence[float], anchors: np.ndarray, settings: AnchorSettings,
        rng: np.random.Generator,
        ignored: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, regression targets and weights of the anchors of one image.

    gt_boxes  (G, 4 or more) boxes in pixels of the scaled image; G may be 0
    im_info   (height, width, ...) of the scaled image
    anchors   (K, 4); those outside the image are ignored: label -1, all else 0
    rng       chooses the examples if there are more than settings.batch_size allows
    ignored   (M, 4 or more) ignored boxes; anchors on them are not background
    returns   labels (K,); targets, inside weights, outside weights (K, 4); float32
    """
    labels = np.full(len(anchors), -1, np.float32)
    targets, inside_weights, outside_weights = np.zeros((3, len(anchors), 4), np.float32)
    inside = anchors_inside(anchors, im_info, settings.allowed_border)
    overlaps = bbox_overlaps(anchors[inside], gt_boxes[:, :4])
    found = label_anchors(overlaps, settings)
    left_out = on_ignored(anchors[inside], ignored, settings.ignored_overlap)
    if left_out is not None:
        found[left_out & (found == 0)] = -1
    labels[inside] = subsample_labels(found, settings, rng)
    if overlaps.size:
        raw = bbox_transform(anchors[inside], gt_boxes[overlaps.argmax(axis=1), :4])
        if settings.statistics is not None:
            means, stds = settings.statistics
            raw = (raw - means) / stds
        targets[inside] = raw
    inside_weights[labels == 1] = settings.inside_weights
    outside_weights[:] = example_weights(labels, settings.positive_weight)[:, None]
    return labels, targets, inside_weights, outside_weights


def gt_boxes_of_images(gt_boxes: np.ndarray, num_images: int, ignored: bool = False) -> list[np.ndarray]:
    """The gt boxes, or with `ignored` the ignored boxes, of each image of a batch.

    gt_boxes  (G, 5) x1, y1, x2, y2, class for one image; (G, 6) for any number, with the image's index in the batch as
              the sixth column. Rows of class 0 are padding, those of class -1 ignored boxes.
    Raises ValueError for several images without indices.
    """
    gt_boxes = gt_boxes.reshape(-1, gt_boxes.shape[-1])
    gt_boxes = gt_boxes[gt_boxes[:, 4] < 0 if ignored else gt_boxes[:, 4] > 0]
    if gt_boxes.shape[1] > 5:
        return [gt_boxes[gt_boxes[:, 5] == image] for image in range(num_images)]
    if num_images != 1:
        raise ValueError(f"gt_boxes has 5 columns, but the batch has {num_images} images: a sixth column "
                         "must hold each box's image index, or TRAIN.IMS_PER_BATCH be 1")
    return [gt_boxes]


def to_maps(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height * width * A, k) values of anchors as a blob (1, A * k, height, width), channel k * a + i."""
    return values.reshape(height, width, -1).transpose(2, 0, 1)[None]
