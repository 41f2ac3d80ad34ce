"""Anchors chosen for objects: known sizes are found again, and no other set of anchors is much better."""
from itertools import combinations

import numpy as np
import pytest

from rpn.anchor_choice import MOST_ANCHORS, RATIOS, SCALES, choose_anchors
from rpn.anchor_reach import AnchorLayout, best_overlaps

PRESENT = AnchorLayout(16, (8, 16, 32), (0.5, 1, 2), 5)


def objects(rng, sides, size=(640, 480)):
    """Boxes with these sides (width, height), somewhere in images of one size."""
    sides, size = np.array(sides, float), np.array(size, float)
    corners = rng.uniform(0, 1, sides.shape) * (size - sides)
    return np.hstack([corners, corners + sides - 1]), np.tile(size, (len(sides), 1))


def objective(boxes, sizes, weights, layout):
    overlaps = np.minimum(best_overlaps(boxes, sizes, layout).max(axis=1), 0.7)
    return overlaps @ weights / weights.sum() - 0.004 * len(layout.anchors)


def test_objects_of_the_size_of_anchors_get_these_anchors():
    """Along a coarse grid, where the neighbours in SCALES would overlap them less."""
    layout = AnchorLayout(16, (3, 8), (0.5, 2), 5)
    boxes = np.concatenate([layout.anchors + 16 * cell for cell in (8, 9, 10, 11, 12)])
    found = choose_anchors(boxes, np.tile((640.0, 480.0), (len(boxes), 1)), np.ones(len(boxes)), PRESENT, enough=1)
    assert found == layout


def test_the_choice_is_nearly_the_best_of_all():
    rng = np.random.default_rng(2)
    sides = np.exp(rng.normal(np.log([70, 50]), 0.4, (41, 2)))
    boxes, sizes = objects(rng, sides)
    weights = rng.uniform(0.5, 2, len(boxes))
    found = objective(boxes, sizes, weights, choose_anchors(boxes, sizes, weights, PRESENT))
    best = max(objective(boxes, sizes, weights, AnchorLayout(16, scales, ratios, 5))
               for count in (1, 2) for scales in combinations(SCALES[4:18], count)
               for ratios in ((0.5,), (0.67,), (1,), (0.5, 1), (0.67, 1), (0.67, 1.5), (0.5, 1.5)))
    assert found >= best - 1e-6


def test_the_same_objects_give_the_same_anchors_in_any_order():
    rng = np.random.default_rng(3)
    boxes, sizes = objects(rng, rng.uniform(20, 300, (101, 2)))
    weights = rng.uniform(0.5, 2, len(boxes))
    found, order = choose_anchors(boxes, sizes, weights, PRESENT), rng.permutation(len(boxes))
    assert found == choose_anchors(boxes, sizes, weights, PRESENT)
    assert found == choose_anchors(boxes[order], sizes[order], weights[order], PRESENT)
    assert set(found.scales) <= set(SCALES) and set(found.ratios) <= set(RATIOS)
    assert list(found.scales) == sorted(found.scales) and list(found.ratios) == sorted(found.ratios)
    assert len(found.anchors) <= MOST_ANCHORS and (found.stride, found.border) == (16, 5)


def test_weights_decide_between_sizes():
    rng = np.random.default_rng(4)
    boxes, sizes = objects(rng, [(40, 40)] * 30 + [(200, 200)] * 2)
    few = choose_anchors(boxes, sizes, np.array([1.0] * 30 + [1e-3] * 2), PRESENT)
    both = choose_anchors(boxes, sizes, np.array([1.0] * 30 + [15.0] * 2), PRESENT)
    assert max(few.scales) < 4 and max(both.scales) > 8


@pytest.mark.parametrize("sides, scale", [((3, 3), 0.5), ((1900, 1900), 64), ((200, 10), None)])
def test_sizes_beyond_all_candidates_get_the_nearest(sides, scale):
    boxes, sizes = objects(np.random.default_rng(5), [sides] * 7, size=(2600, 2400))
    found = choose_anchors(boxes, sizes, np.ones(7), PRESENT)
    assert scale is None or scale in found.scales
    assert scale is not None or found.ratios == (0.2,)
