"""Matching of default boxes with the objects of their image."""
from __future__ import annotations

import torch


def objects_by_image(rows: torch.Tensor, images: int) -> torch.Tensor:
    """Group rows (R, V) that begin with a batch index by image: (images, G, V), padded with -1.

    G is the largest number of rows of one image, and at least 1. Rows with other batch indices are dropped.
    """
    rows = rows[(rows[:, 0] >= 0) & (rows[:, 0] < images)]
    image, order = rows[:, 0].long().sort(stable=True)
    numbers = torch.bincount(image, minlength=images)
    place = torch.arange(len(rows), device=rows.device) - (numbers.cumsum(0) - numbers)[image]
    most = max(1, int(numbers.max())) if images else 1
    found = rows.new_full((images, most, rows.shape[1]), -1)
    found[image, place] = rows[order]
    return found


def matched(overlap: torch.Tensor, threshold: float | None) -> torch.Tensor:
    """The object of each box, or -1: (N, P), from overlaps (N, P, G).

    First, boxes and objects are paired greedily by descending overlap, one box per object. Then, with a threshold, each
    remaining box is matched with the object that it overlaps most, if by at least the threshold. Ties go to the first
    box, then to the first object.
    """
    images, boxes, objects = overlap.shape
    image = torch.arange(images, device=overlap.device)
    found = torch.full((images, boxes), -1, device=overlap.device)
    left = overlap.clone()
    for _ in range(objects):
        most, place = left.flatten(1).max(1)
        box, other = place // objects, place % objects
        found[image, box] = other.where(most > 0, found[image, box])
        left[image, box] = 0
        left[image, :, other] = 0
    if threshold is not None:
        most, other = overlap.max(2)
        found = other.where((found < 0) & (most > 0) & (most >= threshold), found)
    return found
