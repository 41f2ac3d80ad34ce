"""The best overlap of objects and anchors, against all anchors of the feature map."""
import numpy as np
import pytest

from rpn.anchor_reach import AnchorLayout, best_overlaps
from rpn.anchor_targets import anchors_inside
from rpn.generate_anchors import shift_anchors

SIZES = [(203, 131), (118, 77), (64, 95), (41, 33)]


def iou(box, others):
    """IoU of a box with boxes (N, 4), inclusive pixels."""
    width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0]) + 1
    height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1]) + 1
    common = np.maximum(width, 0) * np.maximum(height, 0)
    return common / (area(box) + area(others.T) - common)


def area(box):
    return (box[2] - box[0] + 1) * (box[3] - box[1] + 1)


def oracle(box, size, layout):
    """Highest IoU of an object with each anchor over the anchors of every cell that the training net labels."""
    width, height = size
    rows, columns = int(np.ceil(height / layout.stride)), int(np.ceil(width / layout.stride))
    anchors = shift_anchors(layout.anchors, rows, columns, layout.stride)
    best = np.zeros(len(layout.anchors))
    for index in anchors_inside(anchors, (height, width), layout.border):
        anchor = index % len(best)
        best[anchor] = max(best[anchor], iou(box, anchors[index:index + 1])[0])
    return best


def random_objects(rng, count):
    sizes = np.array(SIZES)[rng.integers(0, len(SIZES), count)]
    corners = rng.uniform(0, 1, (count, 4)) * np.tile(sizes - 1, 2)
    return np.hstack([np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])]), sizes


@pytest.mark.parametrize("layout", [
    AnchorLayout(16, (1, 2.5), (0.5, 1, 2)), AnchorLayout(16, (1, 2.5), (0.5, 1, 2), 7.5),
    AnchorLayout(8, (0.5, 1.75, 4), (0.33, 1.5)), AnchorLayout(12.5, (2,), (0.67, 1, 3), 40)])
def test_best_overlaps_are_those_of_all_cells_inside_the_image(layout):
    boxes, sizes = random_objects(np.random.default_rng(1), 37)
    found = best_overlaps(boxes, sizes, layout)
    assert found.shape == (37, len(layout.anchors)) and found.dtype == np.float32
    expected = [oracle(box, size, layout) for box, size in zip(boxes, sizes, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found == 0).any() == (layout.border < 40) and (found > 0.5).any()     # without room, and well reached


def test_an_object_equal_to_an_anchor_is_reached_completely_and_half_a_cell_beside_it_less():
    layout = AnchorLayout(16, (2,), (1,))
    anchor = layout.anchors[0] + 3 * 16
    half_a_cell = anchor + [8, 0, 8, 0]
    found = best_overlaps(np.array([anchor, half_a_cell]), np.array([(200, 300)] * 2), layout)
    np.testing.assert_allclose(found, [[1], [24 / 40]])


def test_no_objects():
    assert best_overlaps(np.zeros((0, 4)), np.zeros((0, 2)), AnchorLayout(16, (2, 3), (1,))).shape == (0, 2)


def test_the_layout_in_a_prototxt():
    params = {"feat_stride": 8, "scales": [1, 2.5], "allowed_border": 3}
    assert AnchorLayout.from_params(params) == AnchorLayout(8, (1, 2.5), (0.5, 1, 2), 3)
    with pytest.raises(ValueError, match="'feat_stride'"):
        AnchorLayout.from_params({})
