"""Proposal against loops over cells, anchors and boxes, written from the rules of PVANET's layer."""
import math

import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused

from caffe.engine.layers.proposal import anchors_of
from caffe.proto import caffe_pb2
from caffe.proto.prototxt import parse

SETTINGS = "ratio: 0.5 ratio: 1.5 scale: 1 scale: 2 scale: 4"
IMAGES, ANCHORS, HEIGHT, WIDTH = 2, 6, 3, 5


def anchor_boxes(param):
    """The anchors of the first cell, ratio by ratio."""
    found, centre = [], (param.base_size - 1) / 2
    for ratio in param.ratio:
        width = math.floor(math.sqrt(param.base_size ** 2 / ratio) + 0.5)
        height = math.floor(width * ratio + 0.5)
        for scale in param.scale:
            half = (width * scale - 1) / 2, (height * scale - 1) / 2
            found.append((centre - half[0], centre - half[1], centre + half[0], centre + half[1]))
    return found


def moved(anchor, offsets):
    sizes = anchor[2] - anchor[0] + 1, anchor[3] - anchor[1] + 1
    centre = [anchor[axis] + sizes[axis] / 2 + offsets[axis] * sizes[axis] for axis in (0, 1)]
    half = [math.exp(offsets[2 + axis]) * sizes[axis] / 2 for axis in (0, 1)]
    return [centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1]]


def overlap(one, other):
    """IoU of boxes whose corners are inclusive pixels."""
    sides = [min(one[2 + axis], other[2 + axis]) - max(one[axis], other[axis]) + 1 for axis in (0, 1)]
    shared = max(sides[0], 0) * max(sides[1], 0)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (one, other)]
    return shared / (sum(areas) - shared)


def proposals(scores, offsets, images, text):
    """Expected RoIs and scores; `text` holds the layer's settings."""
    param = parse(text, caffe_pb2.ProposalParameter())
    rois, found = [], []
    anchors = anchor_boxes(param)
    for image, (height, width, *scales) in enumerate(images.reshape(len(scores), -1)):
        scale = {"y": scales[0], "x": scales[1] if len(scales) > 1 else scales[0]}
        boxes = []
        for y, x, index in np.ndindex(*scores.shape[2:], len(anchors)):
            shift = np.tile([x, y], 2) * param.feat_stride
            box = moved(anchors[index] + shift, offsets[image, 4 * index:4 * index + 4, y, x])
            box = [max(0, min(value, (height if axis % 2 else width) - 1)) for axis, value in enumerate(box)]
            is_large = box[2] - box[0] + 1 >= param.min_size * scale["x"] and \
                box[3] - box[1] + 1 >= param.min_size * scale["y"]
            boxes.append((scores[image, len(anchors) + index, y, x] * is_large, box))
        kept = []
        for score, box in sorted(boxes, key=lambda one: -one[0])[:param.pre_nms_topn]:
            if len(kept) < param.post_nms_topn and all(overlap(box, other) <= param.nms_thresh for _, other in kept):
                kept.append((score, box))
        rois += [(image, *box) for _, box in kept]
        found += [score for score, _ in kept]
    return np.array(rois), np.array(found)


def bottoms(images=((70, 100, 1.5, 0.5), (60, 90, 1, 1))):
    scores = np.random.default_rng(3).permutation(IMAGES * 2 * ANCHORS * HEIGHT * WIDTH) / 1000 + 0.1
    return [scores.reshape(IMAGES, 2 * ANCHORS, HEIGHT, WIDTH), 0.3 * randn(IMAGES, 4 * ANCHORS, HEIGHT, WIDTH),
            np.array(images, float)]


def layer(text):
    return f"type: 'Proposal' proposal_param {{ {text} }}"


@pytest.mark.parametrize("text, images", [
    (SETTINGS, bottoms()[2]), (SETTINGS + " feat_stride: 8 base_size: 11 min_size: 3 nms_thresh: 0.3", bottoms()[2]),
    (SETTINGS + " pre_nms_topn: 40 post_nms_topn: 7 nms_thresh: 0.5", bottoms()[2]),
    (SETTINGS + " min_size: 30", np.array([[70, 100, 1.25], [60, 90, 0.5]])),
    (SETTINGS, np.tile([70.0, 100, 1.5, 0.5, 1.5, 0.5], (2, 1))), (SETTINGS + " nms_thresh: 0", bottoms()[2]),
    (SETTINGS + " nms_thresh: 1 pre_nms_topn: 9", bottoms()[2])])
def test_values(text, images):
    given = [*bottoms()[:2], images]
    check(layer(text), given, lambda *arrays: proposals(*arrays, text), num_tops=2, gradient=False,
          other=[array[:1, ..., :4] if array.ndim == 4 else array[:1] for array in given], tolerance=1e-4)


def test_anchors_of_pvanet():
    """The ratios and scales of PVANET's published nets; 11.5 and 19.5 are rounded up."""
    ratios, scales = (0.5, 0.667, 1, 1.5, 2), (3, 6, 9, 16, 32)
    found = anchors_of(16, ratios, scales)
    sizes = (found[:, 2:] - found[:, :2] + 1)[::5] / 3
    assert found.shape == (25, 4) and sizes.tolist() == [[23, 12], [20, 13], [16, 16], [13, 20], [11, 22]]
    np.testing.assert_allclose(found, anchor_boxes(caffe_pb2.ProposalParameter(ratio=ratios, scale=scales)))


@pytest.mark.parametrize("limits", ["nms_thresh: 0.7 post_nms_topn: 20", "nms_thresh: 0.3 pre_nms_topn: 50"])
def test_rois_of_opencv(tmp_path, limits):
    """The same RoIs as from cv2.dnn, which ignores min_size and pads with rows of 0."""
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("OpenCV from 5 on does not read Caffe's nets")
    given = dict(zip("abc", (array[:1].astype(np.float32) for array in bottoms(((70, 100, 1),) * 2)), strict=True))
    text = layer(f"{SETTINGS} min_size: 1 {limits}")
    inputs = "".join(f"input: '{name}' input_shape {{ {' '.join(f'dim: {size}' for size in array.shape)} }}\n"
                     for name, array in given.items())
    (tmp_path / "net.prototxt").write_text(
        f"{inputs} layer {{ name: 'rois' {text} bottom: 'a' bottom: 'b' bottom: 'c' top: 'rois' }}")
    net = cv2.dnn.readNetFromCaffe(str(tmp_path / "net.prototxt"))
    for name, array in given.items():
        net.setInput(array, name)
    wanted = net.forward().reshape(-1, 5)
    found = Runner(text, list(given.values())).forward()[0]
    assert len(found) > 5 and not wanted[len(found):].any()
    np.testing.assert_allclose(found, wanted[:len(found)], rtol=1e-5, atol=1e-4)


def test_small_boxes_score_0_and_equal_scores_keep_their_order():
    given = bottoms(((60, 80, 1), (60, 80, 1)))
    given[0][...], given[1][...] = 0.5, 0
    rois, scores = Runner(layer("ratio: 1 scale: 0.5 scale: 1 base_size: 16 nms_thresh: 0.3"),
                          [given[0][:1, :4], given[1][:1, :8], given[2][:1]], 2).forward()
    large = [[0, 16 * x, 16 * y, min(16 * x + 16, 79), 16 * y + 16] for y in range(3) for x in range(5)]
    assert rois[:15].tolist() == large and scores[:15].tolist() == [0.5] * 15
    assert not scores[15:].any() and len(scores) > 15


def test_bottoms_get_a_gradient_of_0():
    runner = Runner(layer(SETTINGS), bottoms())
    diff = np.ones_like(runner.forward()[0])
    for array in runner.backward([diff], [True, True, False])[:2]:
        assert not array.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("index", [0, 1])
def test_values_that_are_not_finite(bad, index):
    given = bottoms()
    given[index][1, -1, 2, 3] = bad
    with pytest.raises(ValueError, match="layer 'tested' .*scores or offsets are not finite"):
        Runner(layer(SETTINGS), given).forward()


@pytest.mark.parametrize("text, match", [
    ("scale: 8", r"at least one ratio, all above 0, found \[\]"),
    ("ratio: 1 ratio: 0 scale: 8", r"at least one ratio, all above 0, found \[1.0, 0.0\]"),
    ("ratio: 1 scale: nan", "at least one scale"), ("ratio: 1", "at least one scale"),
    (SETTINGS + " base_size: 0", "base_size must be at least 1"),
    (SETTINGS + " feat_stride: 0", "feat_stride must be at least 1"),
    (SETTINGS + " pre_nms_topn: 0", "pre_nms_topn must be at least 1"),
    (SETTINGS + " post_nms_topn: 0", "post_nms_topn must be at least 1"),
    (SETTINGS + " nms_thresh: -1", "nms_thresh must be at least 0, found -1"),
    (SETTINGS + " nms_thresh: nan", "nms_thresh must be at least 0, found nan"),
    (SETTINGS + " scale: 8", r"8 anchors \(ratios x scales\) need scores \(N, 16, H, W\), found shape \(2, 12, 3, 5\)"),
])
def test_bad_parameters(text, match):
    refused(layer(text), [array.shape for array in bottoms()], match)


@pytest.mark.parametrize("offsets, images, match", [
    ((2, 24, 5, 6), (2, 3), r"need offsets \(2, 24, 5, 7\), found shape \(2, 24, 5, 6\)"),
    ((2, 24, 5, 7), (2, 2), r"scale of 2 images \(N, 3\), found shape \(2, 2\)"),
    ((2, 24, 5, 7), (1, 3), r"scale of 2 images \(N, 3\), found shape \(1, 3\)"),
    ((2, 24, 5, 7), (), r"found shape \(\)")])
def test_bad_bottoms(offsets, images, match):
    refused(layer(SETTINGS), [(2, 12, 5, 7), offsets, images], match)
