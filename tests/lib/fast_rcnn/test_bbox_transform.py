"""Regression targets, decoding, clipping and per-class columns."""
import numpy as np
import pytest
from golden.detector_cases import generate as pytest_generate_tests  # noqa: F401
from golden.detector_cases import golden

from fast_rcnn.bbox_transform import bbox_transform, bbox_transform_inv, clip_boxes, per_class_targets


@golden("boxes", "contract", has="out_targets")
def test_targets(case):
    """Integer boxes give float64, other boxes their own type."""
    got = bbox_transform(case.inputs["ex_rois"], case.inputs["gt_rois"])
    assert got.dtype == case.outputs["targets"].dtype
    case.check("targets", got)


@golden("boxes", "quirk", name="bbox_transform_inv_large_deltas")
def test_deltas_are_not_clamped(case):
    test_decoding(case)


@golden("boxes", "contract", has="out_pred")
def test_decoding(case):
    got = bbox_transform_inv(case.inputs["boxes"], case.inputs["deltas"])
    assert got.dtype == case.inputs["deltas"].dtype
    case.check("pred", got)
    if "clipped" in case.outputs:
        case.check("clipped", clip_boxes(got, case.inputs["im_shape"]))
        case.check("pred", got)     # clip_boxes did not change its argument


def test_decoding_agrees_with_the_formula_box_by_box():
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 50, (7, 4))
    boxes[:, 2:] += boxes[:, :2]
    deltas = rng.normal(0, 0.5, (7, 12))
    got = bbox_transform_inv(boxes, deltas)
    for row, column in np.ndindex(7, 3):
        x1, y1, x2, y2 = boxes[row]
        dx, dy, dw, dh = deltas[row, 4 * column:4 * column + 4]
        width, height = x2 - x1 + 1, y2 - y1 + 1
        x, y = dx * width + x1 + width / 2, dy * height + y1 + height / 2
        half_w, half_h = np.exp(dw) * width / 2, np.exp(dh) * height / 2
        np.testing.assert_allclose(got[row, 4 * column:4 * column + 4],
                                   [x - half_w, y - half_h, x + half_w, y + half_h], rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_deltas_give_finite_boxes(dtype):
    boxes = np.array([[10, 20, 40, 80]], dtype)
    huge = np.finfo(dtype).max
    deltas = np.array([[huge, -huge, 800, 90], [0, 0, np.inf, 1], [-np.inf, np.inf, -np.inf, 3]], dtype)
    got = bbox_transform_inv(np.repeat(boxes, 3, axis=0), deltas)
    assert np.isfinite(got).all()
    clipped = clip_boxes(got, (100, 200))
    assert (clipped >= 0).all() and (clipped[:, 0::2] <= 199).all() and (clipped[:, 1::2] <= 99).all()
    np.testing.assert_array_equal(clipped[1, [0, 2]], [0, 199])


def test_nan_deltas_stay_visible():
    got = bbox_transform_inv(np.array([[1., 2, 3, 4]]), np.array([[np.nan, 0, 0, 0]]))
    assert np.isnan(got[0, [0, 2]]).all() and np.isfinite(got[0, [1, 3]]).all()


def test_per_class_columns():
    targets = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    got, weights = per_class_targets(np.array([2., 0, 1], np.float32), targets, 5, (1, 2, 3, 4))
    want = np.zeros((3, 20))
    want[0, 8:12], want[2, 4:8] = targets[0], targets[2]
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(weights[0, 8:12], [1, 2, 3, 4])
    assert weights[1].sum() == 0 and got.dtype == weights.dtype == np.float32


def test_a_label_beyond_the_classes_is_an_error():
    with pytest.raises(ValueError, match="labels lie in 1..5, but there are 4 classes"):
        per_class_targets(np.array([1, 5]), np.zeros((2, 4)), 4, (1, 1, 1, 1))
