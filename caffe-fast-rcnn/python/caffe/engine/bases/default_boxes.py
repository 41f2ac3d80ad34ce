"""SSD's boxes (x1, y1, x2, y2, from corner to corner): their encoding as offsets, and their IoU."""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ...proto import caffe_pb2
from ..blob import Blob
from ..layer import Layer

_Codes = caffe_pb2.PriorBoxParameter


def count_of_boxes(layer: Layer, bottom: Sequence[Blob], locations: int, classes: int, rows: Sequence[int]) -> int:
    """The number of default boxes P; checks that the bottoms agree on it. Raises LayerError.

    bottom     offsets (N, P locations 4), scores (N, P classes), default boxes (1, 2, 4 P)
    locations  number of predicted boxes per default box
    rows       valid lengths of the default boxes' second axis: without variances it may be 1
    """
    offsets, scores, priors = (blob.shape for blob in bottom[:3])
    if len(priors) != 3 or priors[0] != 1 or priors[1] not in rows or priors[2] < 4 or priors[2] % 4:
        layer.fail(f"expected default boxes and variances (1, 2, 4 P), as of PriorBox, found shape {priors}")
    count = priors[2] // 4
    for what, shape, each in (("offsets", offsets, 4 * locations), ("scores", scores, classes)):
        if not shape or math.prod(shape[1:]) != count * each:
            layer.fail(f"{count} default boxes need {count * each} {what} for each image, {each} for each box, found "
                       f"shape {shape}")
    if offsets[0] != scores[0]:
        layer.fail(f"offsets of {offsets[0]} images do not fit scores of {scores[0]}")
    return count


def decoded(offsets: torch.Tensor, priors: torch.Tensor, code: int) -> torch.Tensor:
    """The boxes (..., 4) decoded from offsets (..., 4) and default boxes (..., 4).

    CORNER       corners = corners of the default box + offsets
    CORNER_SIZE  corners = corners of the default box + offsets * its width or height
    CENTER_SIZE  centre = centre of the default box + offsets[:2] * its width and height; width and height are those of
                 the default box, times exp(offsets[2:])
    """
    first, last = priors[..., :2], priors[..., 2:]
    size = last - first
    if code == _Codes.CENTER_SIZE:
        centres = offsets[..., :2] * size + (first + last) / 2
        halves = offsets[..., 2:].exp() * size / 2
        return torch.cat([centres - halves, centres + halves], -1)
    return priors + (offsets * torch.cat([size, size], -1) if code == _Codes.CORNER_SIZE else offsets)


def encoded(boxes: torch.Tensor, priors: torch.Tensor, code: int) -> torch.Tensor:
    """The offsets of boxes (..., 4) relative to default boxes (..., 4): the inverse of `decoded`."""
    first, last = priors[..., :2], priors[..., 2:]
    size = last - first
    if code == _Codes.CENTER_SIZE:
        moves = ((boxes[..., :2] + boxes[..., 2:]) / 2 - (first + last) / 2) / size
        return torch.cat([moves, ((boxes[..., 2:] - boxes[..., :2]) / size).log()], -1)
    return (boxes - priors) / torch.cat([size, size], -1) if code == _Codes.CORNER_SIZE else boxes - priors


def overlaps(boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Intersection over union (...) of boxes (..., 4), with broadcasting; 0 if they are disjoint or have no area."""
    meeting = torch.minimum(boxes[..., 2:], others[..., 2:]) - torch.maximum(boxes[..., :2], others[..., :2])
    shared = _product(meeting)
    total = _product(boxes[..., 2:] - boxes[..., :2]) + _product(others[..., 2:] - others[..., :2])
    return (shared / (total - shared)).where(shared > 0, 0)


def _product(sides: torch.Tensor) -> torch.Tensor:
    """The areas (...) of side lengths (..., 2), 0 if one is negative."""
    return sides.clamp(min=0).prod(-1)
