"""Normalised regression targets of anchors: their statistics over a training set, and the layer that uses them."""
import numpy as np
import pytest
from layer_runner import make_layer

from datasets.roidb import objects_entry
from fast_rcnn.config import cfg_from_list
from rpn.anchor_target_layer import AnchorTargetLayer
from utils.blob import im_scale_for

SCALES, RATIOS, STRIDE = (2, 4), (0.5, 1, 2), 16
PARAMS = f"'feat_stride': {STRIDE}\n'scales': {list(SCALES)}\n'ratios': {list(RATIOS)}"
pytestmark = pytest.mark.usefixtures("default_settings")


def entry(boxes, width, height):
    return {**objects_entry(boxes, np.ones(len(boxes))), "image": "none", "width": width, "height": height}


def roidb():
    """Three photographs; nothing in the last one."""
    rng = np.random.default_rng(7)
    corners = rng.uniform(0, 80, (5, 2))
    boxes = np.hstack([corners, corners + rng.uniform(15, 60, (5, 2))]).round()
    return [entry(boxes[:3], 150, 131), entry(boxes[3:], 163, 220), entry(boxes[:0], 120, 120)]


def layer_of(*settings):
    cfg_from_list(["TRAIN.SCALES", "(150,)", "TRAIN.MAX_SIZE", "200", *settings])
    bottoms = [np.zeros((1, 12, 8, 10)), [[30, 30, 70, 66, 1]], [[128, 160, 1]], np.zeros((1, 3, 128, 160))]
    return make_layer(AnchorTargetLayer, PARAMS, bottoms, 4)


def iou(a, b):
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + 1 for i in (0, 1))
    common = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return common / (sum(areas) - common)


def slow_targets(entry, shorter, longest):
    """The targets of all objects among the anchors of one photograph, one after the other."""
    scale = im_scale_for(entry["height"], entry["width"], shorter, longest)
    height, width = round(entry["height"] * scale), round(entry["width"] * scale)
    anchors = []
    for y in range(-(-height // STRIDE)):
        for x in range(-(-width // STRIDE)):
            for ratio in RATIOS:
                w = round((256 / ratio) ** 0.5)
                for size in SCALES:
                    half = ((w * size - 1) / 2, (round(w * ratio) * size - 1) / 2)
                    centre = (7.5 + x * STRIDE, 7.5 + y * STRIDE)
                    box = [centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1]]
                    if box[0] >= 0 and box[1] >= 0 and box[2] < width and box[3] < height:
                        anchors.append(box)
    boxes = [[float(np.float32(side * scale)) for side in box] for box in entry["boxes"]]
    overlaps = [[iou(anchor, box) for box in boxes] for anchor in anchors]
    found = []
    for anchor, row in zip(anchors, overlaps, strict=True):
        closest = any(value > 0 and value == max(other[k] for other in overlaps) for k, value in enumerate(row))
        if row and (max(row) >= 0.7 or closest):
            box = boxes[row.index(max(row))]
            sizes = [(b[2] - b[0] + 1, b[3] - b[1] + 1) for b in (anchor, box)]
            centres = [(b[0] + size[0] / 2, b[1] + size[1] / 2) for b, size in zip((anchor, box), sizes, strict=True)]
            found.append([(centres[1][i] - centres[0][i]) / sizes[0][i] for i in (0, 1)]
                         + [np.log(sizes[1][i] / sizes[0][i]) for i in (0, 1)])
    return found


@pytest.mark.parametrize("scales", [(150,), (150, 110)])
def test_statistics_of_a_training_set(scales):
    layer, _, _ = layer_of("TRAIN.SCALES", str(scales))
    means, stds = layer.normalize_targets(roidb())
    targets = np.array([row for each in roidb() for size in scales for row in slow_targets(each, size, 200)])
    assert len(targets) > 6
    np.testing.assert_allclose(means, targets.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(stds, targets.std(axis=0), rtol=1e-9)


def test_without_objects_targets_stay_plain():
    layer, _, _ = layer_of()
    means, stds = layer.normalize_targets(roidb()[2:])
    assert means.tolist() == [0] * 4 and stds.tolist() == [1] * 4


def test_the_layer_outputs_normalised_targets_of_anchors_in_the_image():
    numbers = ["TRAIN.RPN_NORMALIZE_MEANS", "[0.1, -0.2, 0.3, 0]", "TRAIN.RPN_NORMALIZE_STDS", "[0.5, 2, 0.25, 1]"]
    layer, bottom, top = layer_of(*numbers)
    layer.forward(bottom, top)
    plain, inside = (top[i].data.copy() for i in (1, 2))
    means, stds = layer.normalize_targets([])
    assert (means.tolist(), stds.tolist()) == ([0.1, -0.2, 0.3, 0], [0.5, 2, 0.25, 1])
    layer.seek(0)
    layer.forward(bottom, top)
    of_maps = (np.tile(values, 6)[None, :, None, None] for values in (means, stds))
    in_image = np.repeat((plain.reshape(1, 6, 4, 8, 10) != 0).any(axis=2), 4, axis=1)
    wanted = np.where(in_image, (plain - next(of_maps)) / next(of_maps), 0)
    assert 0 < in_image.mean() < 1 and inside.any()
    np.testing.assert_allclose(top[1].data, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(top[2].data, inside)
