"""bbox_overlaps against recorded results and a loop over pairs."""
import numpy as np
import pytest
from golden.detector_cases import generate as pytest_generate_tests  # noqa: F401
from golden.detector_cases import golden

from utils.cython_bbox import bbox_overlaps


@golden("boxes", "contract", has="out_overlaps")
def test_recorded_overlaps(case):
    boxes, queries = case.inputs["boxes"], case.inputs["query_boxes"]
    case.check("overlaps", bbox_overlaps(boxes, queries))
    if "overlaps_swapped" in case.outputs:
        case.check("overlaps_swapped", bbox_overlaps(queries, boxes))


def one_overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_pairs(dtype):
    rng = np.random.default_rng(0)
    boxes, queries = (rng.uniform(0, 30, (count, 4)) for count in (9, 7))
    for array in (boxes, queries):
        array[:, 2:] += array[:, :2]
    boxes[3], boxes[4, 2:] = queries[2], boxes[4, :2] - 1   # an identical pair; a box without area
    boxes, queries = boxes.astype(dtype), queries.astype(dtype)
    overlaps = bbox_overlaps(boxes, queries)
    assert overlaps.dtype == np.float64
    want = [[one_overlap(a.astype(float), b.astype(float)) for b in queries] for a in boxes]
    np.testing.assert_allclose(overlaps, want, rtol=1e-12)
    assert overlaps[3, 2] == 1 and not overlaps[4].any()


def test_columns_after_the_corners_are_not_read():
    boxes = np.array([[0, 0, 9, 9, 3.0], [5, 5, 14, 14, 7.0]])
    np.testing.assert_array_equal(bbox_overlaps(boxes, boxes), bbox_overlaps(boxes[:, :4], boxes[:, :4]))


def test_wrong_shapes():
    with pytest.raises(ValueError, match=r"query_boxes must have the shape \(N, 4\), got \(4,\)"):
        bbox_overlaps(np.zeros((2, 4)), np.zeros(4))
