"""Chooses the scales and ratios of anchors that fit the objects of a data set."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, combinations

import numpy as np

from rpn.anchor_reach import AnchorLayout, best_overlaps

SCALES = (0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64)
RATIOS = (0.2, 0.25, 0.33, 0.4, 0.5, 0.67, 1, 1.5, 2, 2.5, 3, 4, 5)
MOST_ANCHORS = 12
_MOST_RATIOS = 3
_PRICE = 0.004      # of the mean IoU, which another anchor must gain: each one is trained by fewer objects then


def choose_anchors(boxes: np.ndarray, im_sizes: np.ndarray, weights: np.ndarray, layout: AnchorLayout,
                   enough: float = 0.7) -> AnchorLayout:
    """The layout with scales and ratios for these objects, from SCALES and RATIOS; the same input gives the same.

    They maximise the mean over objects of min(IoU with the best anchor, enough), less 0.004 for each of at most 12
    anchors: every anchor beyond `enough` is labelled as an object. All sets of up to three ratios are tried. For each
    of them scales are added one by one, the best first, and after each step exchanged for others while that helps.
    This is k-means with the distance 1 - IoU, confined to the anchors that a net can have and the cells where they
    stand.

    boxes, im_sizes  see `best_overlaps`; at least one object
    weights          (G,) of the objects in the mean
    layout           gives stride and border
    """
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    scales, ratios = _near(SCALES, np.sqrt(sides.prod(axis=1)) / 16), _near(RATIOS, sides[:, 1] / sides[:, 0])
    overlaps = best_overlaps(boxes, im_sizes, replace(layout, scales=scales, ratios=ratios))
    overlaps = np.minimum(overlaps, enough).reshape(len(boxes), len(ratios), len(scales)).transpose(1, 2, 0)
    weights = (weights / weights.sum()).astype(np.float32)
    sets = chain(*(combinations(range(len(ratios)), count) for count in range(1, _MOST_RATIOS + 1)))
    found = ((score - _PRICE * len(rows) * len(columns), rows, columns) for rows in sets
             for score, columns in _growing_sets(overlaps[list(rows)].max(axis=0), weights, MOST_ANCHORS // len(rows)))
    _, rows, columns = max(found, key=lambda each: each[0])
    return replace(layout, scales=tuple(scales[i] for i in columns), ratios=tuple(ratios[i] for i in rows))


def _near(candidates: tuple[float, ...], values: np.ndarray) -> tuple[float, ...]:
    """The candidates in the range of the values, and a step beyond it."""
    low, high = np.clip([values.min() / 1.5, values.max() * 1.5], candidates[0], candidates[-1])
    return tuple(each for each in candidates if low <= each <= high)


def _growing_sets(overlaps: np.ndarray, weights: np.ndarray, most: int) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Score and indices of sets of one scale, of two, and so on up to `most`.

    overlaps  (S, G) IoU of the best anchor of each scale; the score of a set is the weighted mean of its maximum
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
    """The highest score of the chosen scales and another one, and its index."""
    reached = overlaps[chosen].max(axis=0, initial=0)
    scores = np.maximum(overlaps, reached) @ weights
    scores[chosen] = -1
    return float(scores.max()), int(scores.argmax())
