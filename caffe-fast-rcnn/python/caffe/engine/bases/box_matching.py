"""Which default box learns which object of its image."""
from __future__ import annotations

import torch


def objects_by_image(rows: torch.Tensor, images: int) -> torch.Tensor:
    """Rows (R, V) that begin with the number of an image, as (images, G, V) with -1 behind the last of each image.

    G is the most that one image has, and at least 1. Rows of other images are left out.
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
    """The object of each box, or -1: (N, P), from their overlaps (N, P, G).

    First the box and the object that overlap most are a pair, then those that do among the rest, and so on. Then, with
    a threshold, each other box takes the object that it overlaps most, if by at least so much. Of equal overlaps the
    first box counts, then the first object.
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
