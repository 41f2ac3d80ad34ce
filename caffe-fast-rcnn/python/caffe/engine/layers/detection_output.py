"""DetectionOutput: decode box offsets and scores into SSD's detections."""
from __future__ import annotations

import math

import torch

from ..bases.default_boxes import count_of_boxes, decoded
from ..bases.detections import detection_rows, suppressed
from ..layer import Layer, register

_LEAST_SCORE = torch.finfo(torch.float32).min


@register("DetectionOutput")
class DetectionOutput(Layer):
    """SSD's detections: decoded boxes after non-maximum suppression per class and a limit per image.

    bottoms  offsets (N, P L 4) of P default boxes, with L = 1, or L = num_classes without share_location; scores
             (N, P num_classes); default boxes and their variances (1, 2, 4 P), as from PriorBox. The values of an item
             may be shaped in any way. A fourth bottom, SSD's image for visualisation, is not read
    tops     (1, 1, D, 7): batch index, class, score, x1, y1, x2, y2, normalised by the image's width and height and not
             clipped; by image, then class, then descending score. If nothing is detected, one row per image: its batch
             index and six values of -1. (1, 1, 1, 7) until the first forward pass
    param    detection_output_param: num_classes, share_location (true), background_label_id (0; -1 for none),
             confidence_threshold; code_type CORNER (default), CENTER_SIZE or CORNER_SIZE, variance_encoded_in_target
             (false; true: offsets are not multiplied by the variances); nms_param: nms_threshold (0.3), top_k, eta (1);
             keep_top_k (-1: all)

    Of each class and image, the top_k highest scores above confidence_threshold enter the suppression: a box is dropped
    if its IoU with a box kept before is above nms_threshold. With eta < 1, every kept box multiplies a threshold above
    0.5 by eta. Ties keep the order of the default boxes, and for keep_top_k that of the classes.
    save_output_param, visualize, visualize_threshold and save_file have no effect: the layer writes no files.
    No gradient.
    Liu et al., "SSD", 2016, section 2.2. Source: src/caffe/layers/detection_output_layer.cpp of SSD.
    """

    min_bottoms = 3
    max_bottoms = 4
    exact_tops = 1
    no_backward_to = not_forced = (0, 1, 2, 3)
    backward_reads_bottoms = backward_reads_tops = False

    def setup(self, bottom, top):
        param = self.param.detection_output_param
        self.classes, self.background = param.num_classes, param.background_label_id
        self.locations = 1 if param.share_location else self.classes
        if self.classes < 1 or self.classes == 1 and self.background == 0:
            self.fail(f"num_classes must leave a class besides the background, found {self.classes}")
        if self.background >= self.classes:
            self.fail(f"background_label_id must be below num_classes {self.classes}, found {self.background}")
        self.least_score = param.confidence_threshold if param.HasField("confidence_threshold") else _LEAST_SCORE
        if math.isnan(self.least_score):
            self.fail("confidence_threshold must be a number, found nan")
        nms = param.nms_param
        if not nms.nms_threshold >= 0:
            self.fail(f"nms_threshold must be at least 0, found {nms.nms_threshold}")
        if not 0 < nms.eta <= 1:
            self.fail(f"eta must be above 0 and at most 1, found {nms.eta}")
        self.top_k = nms.top_k if nms.HasField("top_k") else -1

    def reshape(self, bottom, top):
        rows = (1, 2) if self.param.detection_output_param.variance_encoded_in_target else (2,)
        self.count = count_of_boxes(self, bottom, self.locations, self.classes, rows)
        top[0].reshape(1, 1, 1, 7)

    def forward(self, bottom, top):
        with torch.no_grad():
            found = self._detections(*(blob.tensor for blob in bottom[:3]))
        top[0].reshape(1, 1, *found.shape)
        top[0].tensor = found[None, None]

    def _detections(self, offsets: torch.Tensor, scores: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
        """The rows of the top, (D, 7)."""
        param = self.param.detection_output_param
        scores, order = self._candidates(scores)
        boxes = self._boxes(offsets, priors).expand(-1, self.classes, -1, -1)
        boxes = boxes.gather(2, order[..., None].expand(*order.shape, 4))
        kept = suppressed(boxes, scores > -torch.inf, param.nms_param.nms_threshold, param.nms_param.eta)
        if param.keep_top_k >= 0:
            kept = _best_of_image(scores, kept, param.keep_top_k)
        image, label, _ = kept.nonzero(as_tuple=True)
        return detection_rows(image, label, scores[kept], boxes[kept], len(scores))

    def _boxes(self, offsets: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
        """The predicted boxes, (N, L, P, 4)."""
        param = self.param.detection_output_param
        offsets = offsets.reshape(-1, self.count, self.locations, 4).transpose(1, 2)
        if not param.variance_encoded_in_target:
            offsets = priors[0, 1].reshape(-1, 4) * offsets
        return decoded(offsets, priors[0, 0].reshape(-1, 4), param.code_type)

    def _candidates(self, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """For each class the best scores, then -inf, and the indices of their boxes: (N, C, K) each."""
        scores = scores.reshape(-1, self.count, self.classes).transpose(1, 2)
        scores = scores.where(scores > self.least_score, -torch.inf)
        if self.background >= 0:
            scores[:, self.background] = -torch.inf
        scores, order = scores.sort(dim=-1, descending=True, stable=True)
        most = int((scores > -torch.inf).any(1).any(0).sum())
        if self.top_k >= 0:
            most = min(most, self.top_k)
        return scores[..., :most], order[..., :most]

    def backward(self, top, propagate_down, bottom):
        """No gradient."""


def _best_of_image(scores: torch.Tensor, kept: torch.Tensor, most: int) -> torch.Tensor:
    """`kept` (N, C, K), limited to the `most` highest scores of each image."""
    order = scores.where(kept, -torch.inf).flatten(1).argsort(dim=-1, descending=True, stable=True)[:, :most]
    return kept & torch.zeros_like(kept).flatten(1).scatter(1, order, True).view_as(kept)
