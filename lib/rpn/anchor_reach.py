"""How well the anchors of an RPN can overlap objects, given the cells at which they are placed.

Only anchors that do not extend beyond the image count, as in training (`rpn.anchor_targets`).
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rpn.generate_anchors import generate_anchors
from utils.boxes import box_areas
from utils.layer_params import Params, allowed_border, anchor_layout


@dataclass(frozen=True)
class AnchorLayout:
    """The anchors of a net, and where they are placed."""

    stride: float                   # pixels from cell to cell
    scales: tuple[float, ...]       # times 16 pixels
    ratios: tuple[float, ...]       # height / width
    border: float = 0               # pixels by which an anchor may extend beyond the image

    @classmethod
    def from_params(cls, params: Params) -> AnchorLayout:
        """The layout in a layer's `param_str`. Raises ValueError if it is invalid."""
        return cls(*anchor_layout(params), allowed_border(params))

    @property
    def anchors(self) -> np.ndarray:
        """(A, 4) anchors of the first cell; the scale varies fastest."""
        return generate_anchors(ratios=self.ratios, scales=self.scales)


def best_overlaps(boxes: np.ndarray, im_sizes: np.ndarray, layout: AnchorLayout) -> np.ndarray:
    """Highest IoU of each object with each anchor, over all cells at which the anchor lies inside the image.

    The intersection is a product of one length per axis, so the best cell can be found for each axis separately. Along
    an axis the length rises until the centres coincide and falls after that, so one of the two nearest cells is best.

    boxes     (G, 4) objects in pixels of the scaled images
    im_sizes  (G, 2) width and height of the scaled image of each object
    returns   (G, A) float32; 0 where no cell has room for the anchor
    """
    anchors = layout.anchors
    common = np.ones((len(boxes), len(anchors)))
    for axis in (0, 1):
        common *= _longest_common(boxes[:, axis::2], im_sizes[:, axis], anchors[:, axis::2], layout)
    union = box_areas(boxes)[:, None] + box_areas(anchors) - common
    return (common / union).astype(np.float32)


def has_room(layout: AnchorLayout, width: float, height: float) -> bool:
    """Whether any anchor lies inside a scaled image of this size at any cell."""
    fits = np.ones(len(layout.anchors), bool)
    for axis, side in enumerate((width, height)):
        first, last = _cells_inside(np.array([side]), layout.anchors[:, axis::2], layout)
        fits &= (first <= last)[0]
    return bool(fits.any())


def _longest_common(spans: np.ndarray, sides: np.ndarray, anchor_spans: np.ndarray, layout: AnchorLayout) -> np.ndarray:
    """(G, A) largest number of pixels along one axis that an object shares with an anchor inside the image.

    spans, anchor_spans  (G, 2), (A, 2) first and last pixel
    sides                (G,) of the images
    """
    first, last = _cells_inside(sides, anchor_spans, layout)
    centred = (spans.sum(axis=1)[:, None] - anchor_spans.sum(axis=1)) / (2 * layout.stride)
    best = np.zeros(centred.shape)
    for cell in (np.floor(centred), np.ceil(centred)):
        shift = np.clip(cell, first, np.maximum(first, last)) * layout.stride
        low = np.maximum(spans[:, :1], anchor_spans[:, 0] + shift)
        high = np.minimum(spans[:, 1:], anchor_spans[:, 1] + shift)
        best = np.maximum(best, high - low + 1)
    return np.where(first <= last, best, 0)


def _cells_inside(sides: np.ndarray, anchor_spans: np.ndarray, layout: AnchorLayout) -> tuple[np.ndarray, np.ndarray]:
    """First (1, A) and last (G, A) cell along an axis at which an anchor is inside; first > last if at none.

    An image has ceil(side / stride) cells along an axis.
    """
    stride, border = layout.stride, layout.border
    first = np.ceil(np.maximum(-border - anchor_spans[:, 0], 0) / stride)[None]
    inside = np.ceil((sides[:, None] + border - anchor_spans[:, 1]) / stride) - 1     # last pixel < side + border
    return first, np.minimum(inside, np.ceil(sides / stride)[:, None] - 1)
