"""Anchors of one cell and of a feature map."""
import numpy as np
import pytest
from golden.detector_cases import generate as pytest_generate_tests  # noqa: F401
from golden.detector_cases import golden

from rpn.generate_anchors import generate_anchors, shift_anchors


@golden("anchors", "contract")
def test_anchors(case):
    ins = case.inputs
    case.check("anchors", generate_anchors(int(ins["base_size"]), ins["ratios"], ins["scales"]))


def test_default_anchors_are_the_nine_of_the_paper():
    anchors = generate_anchors()
    assert anchors.shape == (9, 4)
    np.testing.assert_array_equal(anchors[0], [-84, -40, 99, 55])
    np.testing.assert_array_equal(anchors + anchors[:, [2, 3, 0, 1]], np.full((9, 4), 15))


def test_rows_of_a_feature_map():
    anchors = generate_anchors(scales=(2, 4))
    shifted = shift_anchors(anchors, height=3, width=5, stride=8)
    assert shifted.shape == (3 * 5 * 6, 4)
    for y, x, a in np.ndindex(3, 5, 6):
        np.testing.assert_array_equal(shifted[(y * 5 + x) * 6 + a], anchors[a] + [8 * x, 8 * y, 8 * x, 8 * y])


@pytest.mark.parametrize("wrong", [{"base_size": 0}, {"ratios": (1, -1)}, {"scales": ()}])
def test_sizes_must_be_positive(wrong):
    with pytest.raises(ValueError, match="positive sizes"):
        generate_anchors(**wrong)
