"""Chooses anchor scales and ratios that fit the objects of a data set."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, combinations

import numpy as np

from rpn.anchor_reach import AnchorLayout, best_overlaps
from utils.boxes import box_areas, box_sizes
from utils.layer_params import ANCHOR_BASE_SIZE

SCALES = (0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64)
RATIOS = (0.2, 0.25, 0.33, 0.4, 0.5, 0.67, 1, 1.5, 2, 2.5, 3, 4, 5)
MOST_ANCHORS = 12
_MOST_RATIOS = 3
_PRICE = 0.004      # minimum gain in mean IoU by another anchor, as each anchor then has fewer objects to train on


def choose_anchors(boxes: np.ndarray, im_sizes: np.ndarray, weights: np.ndarray, layout: AnchorLayout,
                   enough: float = 0.7) -> AnchorLayout:
    """Choose scales and ratios for these objects, from SCALES and RATIOS; deterministic.

    They maximise the mean over objects of min(IoU with the best anchor, enough), minus 0.004 per anchor, for at most 12
    anchors. IoU is capped because every anchor above `enough` is labelled as an object. All sets of up to three ratios
    are tried: for each, scales are added greedily, and after each addition swapped for others while that improves the
    result. This is k-means with the distance 1 - IoU, restricted to the anchors and positions that a net can have.

    boxes, im_sizes  see `best_overlaps`; at least one object
    weights          (G,) weights of the objects in the mean
    layout           supplies stride and border
    """
    scales = _near(SCALES, np.sqrt(box_areas(boxes)) / ANCHOR_BASE_SIZE)
    width, height = box_sizes(boxes).T
    ratios = _near(RATIOS, height / width)
    overlaps = best_overlaps(boxes, im_sizes, replace(layout, scales=scales, ratios=ratios))
    overlaps = np.minimum(overlaps, enough).reshape(len(boxes), len(ratios), len(scales)).transpose(1, 2, 0)
    weights = (weights / weights.sum()).astype(np.float32)
    sets = chain(*(combinations(range(len(ratios)), count) for count in range(1, _MOST_RATIOS + 1)))
    found = ((score - _PRICE * len(rows) * len(columns), rows, columns) for rows in sets
             for score, columns in _growing_sets(overlaps[list(rows)].max(axis=0), weights, MOST_ANCHORS // len(rows)))
    _, rows, columns = max(found, key=lambda each: each[0])
    return replace(layout, scales=tuple(scales[i] for i in columns), ratios=tuple(ratios[i] for i in rows))


def _near(candidates: tuple[float, ...], values: np.ndarray) -> tuple[float, ...]:
    """The candidates in the range of the values, extended by a factor of 1.5 at both ends."""
    low, high = np.clip([values.min() / 1.5, values.max() * 1.5], candidates[0], candidates[-1])
    return tuple(each for each in candidates if low <= each <= high)


def _growing_sets(overlaps: np.ndarray, weights: np.ndarray, most: int) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Score and indices of the best sets found of 1, 2, .. `most` scales.

    overlaps  (S, G) IoU of each scale's best anchor; the score of a set is the weighted mean of its maximum
    """
    chosen: list[int] = []
    for _ in range(min(most, len(overlaps))):
        score, index = _best_addition(overlaps, weights, chosen)
        chosen.append(index)
        while True:
            exchanges = [(*_best_addition(overlaps, weights, [kept for kept in chosen if kept != out]), out)
                         for out in chosen]
            better, index, out = max(exchanges)
            if better <= score:
                break
            score = better
            chosen[chosen.index(out)] = index
        yield score, tuple(sorted(chosen))


def _best_addition(overlaps: np.ndarray, weights: np.ndarray, chosen: list[int]) -> tuple[float, int]:
    """Highest score of the chosen scales with one added, and the index of that scale."""
    reached = overlaps[chosen].max(axis=0, initial=0)
    scores = np.maximum(overlaps, reached) @ weights
    scores[chosen] = -1
    return float(scores.max()), int(scores.argmax())
