"""Images too small for any anchor."""
from pathlib import Path

import numpy as np
import pytest

from checks.data import small_image_warning, train_anchors
from rpn.anchor_reach import AnchorLayout, has_room
from rpn.anchor_targets import anchors_inside
from rpn.generate_anchors import shift_anchors

TINY = Path(__file__).resolve().parents[3] / "models" / "Tiny" / "faster_rcnn_alt_opt"


@pytest.mark.parametrize("border", [0, 5])
def test_there_is_room_if_the_rpn_has_anchors_inside(border):
    layout = AnchorLayout(16, (2, 4), (0.5, 1, 2), border)
    for width in range(17, 90, 3):
        for height in range(16, 80, 3):
            rows, columns = np.ceil([height / 16, width / 16]).astype(int)
            inside = anchors_inside(shift_anchors(layout.anchors, rows, columns, 16), (height, width), border)
            assert has_room(layout, width, height) == (len(inside) > 0), (width, height)


def test_the_warning_counts_images_and_names_a_size():
    layout = train_anchors(TINY / "stage1_rpn_train.pt")      # anchors of 22 to 184 pixels
    sizes = [(300, 300), (640, 20), (640, 20), (20, 640)]
    text = small_image_warning(layout, sizes, (300,), 500)
    assert text.startswith("Warning: 3 of 4 images, such as those of 20 x 640 pixels, are too small")
    assert "at TRAIN.SCALES [300] and TRAIN.MAX_SIZE 500" in text
    assert small_image_warning(layout, sizes, (16, 300), 9000) == ""       # one of the scales suffices
    assert small_image_warning(layout, sizes[:1], (300,), 500) == ""
