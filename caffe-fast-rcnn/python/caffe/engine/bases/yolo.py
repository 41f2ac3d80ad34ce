"""Base of the layers that decode YOLO's feature maps into detections."""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ..layer import Layer
from .detections import detection_rows, suppressed


class YoloDetectionLayer(Layer):
    """A layer with feature maps (N, B (5 + C), H, W) as bottoms, of B boxes per cell and C classes; see its subclasses.

    Subclasses call `take_settings` in setup and define `class_scores`.
    """

    min_bottoms = 1
    exact_tops = 1
    backward_reads_bottoms = backward_reads_tops = False

    def class_scores(self, values: torch.Tensor) -> torch.Tensor:
        """The class scores, along the last axis."""
        raise NotImplementedError(f"{type(self).__name__} has no class_scores")

    def take_settings(self, param, anchors: Sequence[np.ndarray], least_score: float) -> None:
        """Check and store the settings. Raises LayerError.

        anchors      for each bottom the widths and heights of B anchors, in cells
        least_score  detections must score above it
        """
        self.classes, self.boxes, self.anchors = param.num_classes, param.num_box, anchors
        self.least_score = least_score
        for name in ("num_classes", "num_box"):
            if getattr(param, name) < 1:
                self.fail(f"{name} must be at least 1, found 0")
        if not 0 < param.nms_threshold <= 1:
            self.fail(f"nms_threshold must be above 0 and at most 1, found {param.nms_threshold}")
        if math.isnan(least_score):
            self.fail("confidence_threshold must be a number, found nan")
        self.most_overlap = just_below(param.nms_threshold)

    def reshape(self, bottom, top):
        channels = self.boxes * (5 + self.classes)
        for blob in bottom:
            shape = blob.shape
            if len(shape) != 4 or shape[1] != channels:
                self.fail(f"{self.boxes} boxes of {self.classes} classes need bottoms (N, {channels}, H, W), found "
                          f"shape {shape}")
            if shape[0] != bottom[0].shape[0]:
                self.fail(f"expected bottoms with the same number of images, found {bottom[0].shape[0]} and {shape[0]}")
        top[0].reshape(1, 1, 1, 7)

    def forward(self, bottom, top):
        with torch.no_grad():
            found = self._detections([blob.tensor for blob in bottom])
        top[0].reshape(1, 1, *found.shape)
        top[0].tensor = found[None, None]

    def _detections(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """The rows of the top, (D, 7)."""
        boxes, scores, labels = (torch.cat(parts, 1) for parts in zip(
            *(self._predicted(value, anchors) for value, anchors in zip(maps, self.anchors, strict=True)), strict=True))
        scores, order = scores.where(scores > self.least_score, -torch.inf).sort(dim=1, descending=True, stable=True)
        order = order[:, :int((scores > -torch.inf).any(0).sum())]
        scores, labels = scores[:, :order.shape[1]], labels.gather(1, order)
        boxes = boxes.gather(1, order[..., None].expand(*order.shape, 4))
        kept = suppressed(boxes[:, None], (scores > -torch.inf)[:, None], self.most_overlap)[:, 0]
        image = kept.nonzero(as_tuple=True)[0]
        return detection_rows(image, labels[kept] + 1, scores[kept], boxes[kept], len(scores))

    def _predicted(self, value: torch.Tensor, anchors: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Boxes (N, K, 4), scores and best classes (N, K) of one bottom, in row-major order, K = H W B."""
        num, _, height, width = value.shape
        value = value.reshape(num, self.boxes, 5 + self.classes, height, width).permute(0, 3, 4, 1, 2)
        boxes = predicted_boxes(value[..., :2].sigmoid(), value[..., 2:4], anchors)
        scores = value[..., 4:5].sigmoid() * self.class_scores(value[..., 5:])
        labels = scores.argmax(-1, keepdim=True)
        return boxes.reshape(num, -1, 4), scores.gather(-1, labels).reshape(num, -1), labels.reshape(num, -1)

    def backward(self, top, propagate_down, bottom):
        """No gradient."""


def cells_of(height: int, width: int) -> np.ndarray:
    """The x and y of every cell, (H, W, 2)."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), 2)


def predicted_boxes(places: torch.Tensor, logarithms: torch.Tensor, anchors: np.ndarray) -> torch.Tensor:
    """Boxes (N, H, W, B, 4): x1, y1, x2, y2 normalised by the image.

    places      (N, H, W, B, 2): x and y of the centre within its cell, 0 to 1
    logarithms  (N, H, W, B, 2): logarithms of the factors of width and height
    anchors     (B, 2): the width and height to multiply, in cells
    """
    height, width = places.shape[1:3]
    cells, size = places.new_tensor(cells_of(height, width)), places.new_tensor([width, height])
    centres = (cells[:, :, None] + places) / size
    halves = logarithms.exp() * places.new_tensor(anchors) / size / 2
    return torch.cat([centres - halves, centres + halves], -1)


def just_below(value: float) -> float:
    """The next smaller float32, so that x >= value becomes x > just_below(value)."""
    return float(np.nextafter(np.float32(value), np.float32(-np.inf)))
