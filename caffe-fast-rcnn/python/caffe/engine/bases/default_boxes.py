"""Boxes of SSD (x1, y1, x2, y2, from corner to corner): how a net's offsets encode them, and how much they overlap."""
from __future__ import annotations

import torch

from ...proto import caffe_pb2

_Codes = caffe_pb2.PriorBoxParameter


def decoded(offsets: torch.Tensor, priors: torch.Tensor, code: int) -> torch.Tensor:
    """The boxes (..., 4) that offsets from default boxes (..., 4) stand for.

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


def overlaps(boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Intersection over union of boxes (..., 4) that broadcast, (...); 0 for boxes that do not meet or have no area."""
    meeting = torch.minimum(boxes[..., 2:], others[..., 2:]) - torch.maximum(boxes[..., :2], others[..., :2])
    shared = _product(meeting)
    total = _product(boxes[..., 2:] - boxes[..., :2]) + _product(others[..., 2:] - others[..., :2])
    return (shared / (total - shared)).where(shared > 0, 0)


def _product(sides: torch.Tensor) -> torch.Tensor:
    """Areas of sides (..., 2), 0 where one is negative."""
    return sides.clamp(min=0).prod(-1)
