"""Greedy non-maximum suppression, and the detection rows that SSD's and YOLO's layers write."""
from __future__ import annotations

import torch

from .default_boxes import overlaps


def suppressed(boxes: torch.Tensor, is_candidate: torch.Tensor, threshold: float, eta: float = 1,
               most: int | None = None) -> torch.Tensor:
    """Which candidates (N, C, K) survive non-maximum suppression within their image and class.

    boxes  (N, C, K, 4), best first

    Each step keeps the next box of every image and class, so that the number of steps is the largest number of boxes
    kept in one class, at most `most`. With eta < 1, a kept box multiplies a threshold above 0.5 by eta.
    """
    place = torch.arange(boxes.shape[2], device=boxes.device)
    kept, left = torch.zeros_like(is_candidate), is_candidate
    largest = torch.zeros_like(boxes[..., 0])               # largest IoU with a box kept so far
    limit = torch.full_like(largest[..., :1], threshold)
    for _ in range(boxes.shape[2] if most is None else most):
        possible = left & (largest <= limit)
        if not possible.any():
            break
        best = possible.byte().argmax(-1, keepdim=True)     # the first
        is_found = possible.gather(-1, best)
        kept = kept | (is_found & (place == best))
        left = left & (place > best)
        largest = torch.maximum(largest, overlaps(boxes, boxes.gather(2, best[..., None].expand(-1, -1, -1, 4))))
        if eta < 1:
            limit = (limit * eta).where(is_found & (limit > 0.5), limit)
    return kept


def detection_rows(image: torch.Tensor, label: torch.Tensor, scores: torch.Tensor, boxes: torch.Tensor,
                   images: int) -> torch.Tensor:
    """Rows (D, 7): batch index, class, score, x1, y1, x2, y2. If there are none, one per image: batch index and -1."""
    if not len(image):
        none = scores.new_full((images, 7), -1)
        none[:, 0] = torch.arange(images, device=scores.device)
        return none
    return torch.cat([torch.stack([image, label], 1).to(scores.dtype), scores[:, None], boxes], 1)
