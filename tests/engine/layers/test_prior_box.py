"""PriorBox against loops over cells and sizes."""
import math

import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused

from caffe.engine.layer import LayerError


def priors(feature, image, sizes, step, offset=0.5, clip=False, variance=(0.1,) * 4):
    """Expected boxes; `sizes` are (width, height) in image pixels, `step` and `image` are (height, width)."""
    rows = []
    for i, j in np.ndindex(feature.shape[2:]):
        x, y = (j + offset) * step[1], (i + offset) * step[0]
        for width, height in sizes:
            rows += [(x - width / 2) / image[1], (y - height / 2) / image[0],
                     (x + width / 2) / image[1], (y + height / 2) / image[0]]
    boxes = np.array(rows)
    if clip:
        boxes = boxes.clip(0, 1)
    return np.array([[boxes, list(variance) * (len(rows) // 4)]])


R2, R3 = math.sqrt(2), math.sqrt(3)
FEATURE, IMAGE = randn(2, 3, 4, 5), randn(2, 3, 40, 60)

CASES = {
    # As for SSD's conv4_3: a square, the square between the sizes, and aspect ratios with their inverses
    "ssd": ("min_size: 30 max_size: 60 aspect_ratio: 2 aspect_ratio: 3 flip: true clip: false variance: 0.1 "
            "variance: 0.1 variance: 0.2 variance: 0.2 step: 8 offset: 0.5",
            [(30, 30), (30 * R2, 30 * R2), (30 * R2, 30 / R2), (30 / R2, 30 * R2), (30 * R3, 30 / R3),
             (30 / R3, 30 * R3)],
            {"step": (8, 8), "variance": [np.float32(v) for v in (0.1, 0.1, 0.2, 0.2)]}),
    "step and image of the bottoms": ("min_size: 10", [(10, 10)], {"step": (10, 12)}),
    "sizes lose their fractions": ("min_size: 35.84 max_size: 76.8", [(35, 35), (math.sqrt(35 * 76),) * 2],
                                   {"step": (10, 12)}),
    "several sizes": ("min_size: 8 min_size: 20 max_size: 18 max_size: 45 aspect_ratio: 2 flip: false",
                      [(8, 8), (12, 12), (8 * R2, 8 / R2), (20, 20), (30, 30), (20 * R2, 20 / R2)], {"step": (10, 12)}),
    "repeated ratios": ("min_size: 10 aspect_ratio: 1 aspect_ratio: 2 aspect_ratio: 2 aspect_ratio: 0.5",
                        [(10, 10), (10 * R2, 10 / R2), (10 / R2, 10 * R2)], {"step": (10, 12)}),
    "given sizes": ("min_size: 10 img_h: 20 img_w: 30 step_h: 3 step_w: 4 offset: 0.25 variance: 0.5",
                    [(10, 10)], {"image": (20, 30), "step": (3, 4), "offset": 0.25, "variance": (0.5,) * 4}),
    "one side": ("min_size: 10 img_size: 50", [(10, 10)], {"image": (50, 50), "step": (12.5, 10)}),
    "clipped": ("min_size: 30 clip: true", [(30, 30)], {"step": (10, 12), "clip": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_values(case):
    text, sizes, settings = CASES[case]
    settings = {"image": (40, 60), "variance": (0.1,) * 4} | settings
    check(f"type: 'PriorBox' prior_box_param {{ {text} }}", [FEATURE, IMAGE],
          lambda feature, image: priors(feature, sizes=sizes, **settings), gradient=False)


def test_without_gradient():
    layer = Runner("type: 'PriorBox' prior_box_param { min_size: 9 }", [FEATURE, IMAGE]).layer
    assert layer.no_backward_to == layer.not_forced == (0, 1)


@pytest.mark.parametrize("text, match", [
    ("", "one min_size or more"),
    ("min_size: 0", r"above 0, found \[0.0\]"),
    ("min_size: 9 max_size: 8", "larger than it"),
    ("min_size: 9 min_size: 10 max_size: 18", "a max_size for every min_size"),
    ("min_size: 9 aspect_ratio: 0", "aspect_ratio must be above 0"),
    ("min_size: 9 variance: 0.1 variance: 0.2", "one or four variances"),
    ("min_size: 9 variance: -1", "above 0"),
    ("min_size: 9 img_size: 30 img_h: 30 img_w: 30", "either img_size, or img_h and img_w"),
    ("min_size: 9 img_h: 30", r"above 0, found \(30, 0\)"),
    ("min_size: 9 step: 8 step_h: 8 step_w: 8", "either step, or step_h and step_w"),
    ("min_size: 9 step: -8", "above 0"),
])
def test_bad_parameters(text, match):
    refused(f"type: 'PriorBox' prior_box_param {{ {text} }}", [(2, 3, 4, 5), (2, 3, 40, 60)], match)


def test_bad_bottoms():
    refused("type: 'PriorBox' prior_box_param { min_size: 9 }", [(2, 3, 4), (2, 3, 40, 60)], "4 axes")
    with pytest.raises(LayerError, match="takes 2 bottom"):
        Runner("type: 'PriorBox' prior_box_param { min_size: 9 }", [FEATURE])
