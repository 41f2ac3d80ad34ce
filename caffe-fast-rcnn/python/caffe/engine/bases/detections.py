"""From scored boxes to detections: greedy suppression, and the rows that SSD's and YOLO's layers write."""
from __future__ import annotations

import torch

from .default_boxes import overlaps


def suppressed(boxes: torch.Tensor, is_candidate: torch.Tensor, threshold: float, eta: float = 1,
               most: int | None = None) -> torch.Tensor:
    """Which candidates (N, C, K) of each class are kept by greedy suppression; boxes (N, C, K, 4), best first.

    All classes and images at once: each step keeps the next box of each, so there are as many as the most that are
    kept in one class; after `most` steps it ends.
    """
    place = torch.arange(boxes.shape[2], device=boxes.device)
    kept, left = torch.zeros_like(is_candidate), is_candidate
    largest = torch.zeros_like(boxes[..., 0])               # IoU with the boxes kept so far
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
    """Rows (D, 7) of image, class, score, x1, y1, x2, y2; without any, one for each image: its number and -1."""
    if not len(image):
        none = scores.new_full((images, 7), -1)
        none[:, 0] = torch.arange(images, device=scores.device)
        return none
    return torch.cat([torch.stack([image, label], 1).to(scores.dtype), scores[:, None], boxes], 1)
