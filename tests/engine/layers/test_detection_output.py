"""DetectionOutput against loops over images, classes and boxes, written from SSD's rules."""
import logging

import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused
from ssd_boxes import decode, overlap, priors

import caffe
from caffe.proto import caffe_pb2
from caffe.proto.prototxt import parse

IMAGES, PRIORS, CLASSES = 2, 23, 5
FIELD = caffe_pb2.DetectionOutputParameter


def suppressed(boxes, scores, least, threshold, top_k, eta):
    """Indices of the boxes that are kept, best first."""
    order = [index for index in np.argsort(-scores, kind="stable") if scores[index] > least]
    kept = []
    for index in order[:top_k] if top_k >= 0 else order:
        if all(overlap(boxes[index], boxes[other]) <= threshold for other in kept):
            kept.append(index)
            if eta < 1 and threshold > 0.5:
                threshold *= eta
    return kept


def detections(offsets, scores, boxes, text):
    """The expected top; `text` holds the layer's settings."""
    param = parse(text, FIELD())
    code = caffe_pb2.PriorBoxParameter.CodeType.Name(param.code_type)
    boxes, variances = boxes[0, 0].reshape(-1, 4), boxes[0, -1].reshape(-1, 4)
    if param.variance_encoded_in_target:
        variances = np.ones_like(variances)
    count, locations = len(boxes), 1 if param.share_location else param.num_classes
    offsets, scores = offsets.reshape(-1, count, locations, 4), scores.reshape(-1, count, param.num_classes)
    least = param.confidence_threshold if param.HasField("confidence_threshold") else -np.finfo(np.float32).max
    nms, rows = param.nms_param, []
    for image in range(len(offsets)):
        found = []
        for label in range(param.num_classes):
            if label != param.background_label_id:
                place = 0 if param.share_location else label
                decoded = [decode(offsets[image, index, place], boxes[index], variances[index], code)
                           for index in range(count)]
                kept = suppressed(decoded, scores[image, :, label], least, nms.nms_threshold,
                                  nms.top_k if nms.HasField("top_k") else -1, nms.eta)
                found += [(image, label, scores[image, index, label], *decoded[index]) for index in kept]
        if param.keep_top_k >= 0:
            best = sorted(range(len(found)), key=lambda row: -found[row][2])[:param.keep_top_k]
            found = [found[row] for row in sorted(best)]
        rows += found
    return np.array(rows or [(image, *[-1] * 6) for image in range(len(offsets))], float)[None, None]


def bottoms(locations=1, classes=CLASSES, images=IMAGES):
    scores = np.random.default_rng(7).permutation(images * PRIORS * classes).reshape(images, -1) / 1000 + 0.1
    return [randn(images, PRIORS * locations * 4) / 10, scores, priors(PRIORS)]


SSD = "num_classes: 5 code_type: CENTER_SIZE nms_param { nms_threshold: 0.45 top_k: 9 } confidence_threshold: 0.12 "
CASES = {
    "ssd": (SSD + "keep_top_k: 20", 1),
    "defaults": ("num_classes: 5", 1),
    "corner": ("num_classes: 5 code_type: CORNER nms_param { nms_threshold: 0.6 }", 1),
    "corner size": ("num_classes: 5 code_type: CORNER_SIZE nms_param { nms_threshold: 0.1 }", 1),
    "variance in the target": (SSD + "variance_encoded_in_target: true", 1),
    "a box for each class": (SSD + "share_location: false keep_top_k: 11", CLASSES),
    "background in the middle": (SSD + "share_location: false background_label_id: 2", CLASSES),
    "no background": (SSD + "background_label_id: -1", 1),
    "no limits": ("num_classes: 5 code_type: CENTER_SIZE nms_param { top_k: -1 } keep_top_k: -1", 1),
    "adaptive": ("num_classes: 5 code_type: CENTER_SIZE nms_param { nms_threshold: 0.9 eta: 0.8 }", 1),
    "adaptive, stops at a half": ("num_classes: 5 code_type: CENTER_SIZE nms_param { nms_threshold: 0.9 eta: 0.3 }", 1),
    "threshold 0": ("num_classes: 5 code_type: CENTER_SIZE nms_param { nms_threshold: 0 }", 1),
    "nothing suppressed": ("num_classes: 5 code_type: CENTER_SIZE nms_param { nms_threshold: 1 } keep_top_k: 7", 1),
    "nothing found": ("num_classes: 5 confidence_threshold: 2", 1),
    "top_k 0": ("num_classes: 5 nms_param { top_k: 0 }", 1),
    "keep_top_k 0": ("num_classes: 5 keep_top_k: 0", 1),
}


@pytest.mark.parametrize("case", CASES)
def test_values(case):
    text, locations = CASES[case]
    given = bottoms(locations)
    other = [np.concatenate([given[0], given[0][:1] + 1]), np.concatenate([given[1], given[1][:1]]),
             priors(PRIORS, seed=1)]
    check(f"type: 'DetectionOutput' detection_output_param {{ {text} }}", given,
          lambda *arrays: detections(*arrays, text), gradient=False, other=other)


def run(text, *arrays):
    return Runner(f"type: 'DetectionOutput' detection_output_param {{ {text} }}", arrays).forward()[0][0, 0]


def test_threshold_and_eta_determine_how_many_boxes_are_kept():
    text, given = CASES["adaptive"][0], bottoms()
    counts = [len(run(text.replace("0.9 eta: 0.8", limits), *given)) for limits in ("0.3", "0.9", "0.9 eta: 0.8")]
    assert counts[0] < counts[2] < counts[1] < IMAGES * PRIORS * (CLASSES - 1)


def test_ties_keep_the_order_of_boxes_and_classes():
    offsets, scores = np.zeros((1, 4 * 3)), np.full((1, 3 * 3), 0.5)
    boxes = np.array([[[0, 0, 0.1, 0.1, 0.5, 0.5, 0.6, 0.6, 0, 0, 0.1, 0.1], [1] * 12]])
    first, second = [0, 0, 0.1, 0.1], [0.5, 0.5, 0.6, 0.6]
    np.testing.assert_allclose(run("num_classes: 3", offsets, scores, boxes),
                               [[0, label, 0.5, *box] for label in (1, 2) for box in (first, second)])
    np.testing.assert_allclose(run("num_classes: 3 keep_top_k: 3", offsets, scores, boxes),
                               [[0, 1, 0.5, *first], [0, 1, 0.5, *second], [0, 2, 0.5, *first]])


def test_an_image_without_detections_beside_one_with_some_has_no_row():
    given = bottoms()
    given[1][0] = 0
    found = run("num_classes: 5 confidence_threshold: 0.2", *given)
    assert (found[:, 0] == 1).all() and len(found) > 1


def test_boxes_without_area_and_inverted_ones_overlap_nothing():
    boxes = np.array([[[0.2, 0.2, 0.2, 0.6, 0.1, 0.1, 0.9, 0.9, 0.6, 0.6, 0.3, 0.3, 0.2, 0.2, 0.2, 0.6], [1] * 16]])
    scores = np.array([[[0, 0.9], [0, 0.8], [0, 0.7], [0, 0.6]]])
    found = run("num_classes: 2 nms_param { nms_threshold: 0 }", np.zeros((1, 16)), scores, boxes)
    np.testing.assert_allclose(found[:, 3:], boxes[0, 0].reshape(4, 4), rtol=1e-6)


def test_scores_and_boxes_that_are_not_finite():
    given = bottoms()
    given[1][0, :40], given[0][1, :20] = np.nan, 1e6
    found = run("num_classes: 5 code_type: CENTER_SIZE", *given)
    assert not np.isnan(found[:, 2]).any() and set(found[:, 0]) == {0, 1}


def test_other_axes_are_accepted_and_the_image_is_not_read():
    text, given = CASES["ssd"][0], bottoms()
    apart = [given[0].reshape(IMAGES, PRIORS, 4), given[1].reshape(IMAGES, PRIORS, CLASSES), given[2], randn(2, 3, 4)]
    np.testing.assert_array_equal(run(text, *apart), run(text, *given))
    encoded = text + " variance_encoded_in_target: true"
    np.testing.assert_array_equal(run(encoded, *given[:2], given[2][:, :1]), run(encoded, *given))


def test_an_empty_batch():
    found = run("num_classes: 5", np.zeros((0, PRIORS * 4)), np.zeros((0, PRIORS * CLASSES)), priors(PRIORS))
    assert found.shape == (0, 7)


def test_fields_that_write_files_are_ignored_with_a_message(tmp_path, caplog):
    (tmp_path / "net.pt").write_text("""
        input: "loc" input_shape { dim: 1 dim: 8 } input: "conf" input_shape { dim: 1 dim: 6 }
        input: "prior" input_shape { dim: 1 dim: 2 dim: 8 }
        layer { name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "prior" top: "out"
          detection_output_param { num_classes: 3 save_output_param { output_directory: "/nowhere" num_test_image: 9 }
                                   visualize: true visualize_threshold: 0.6 save_file: "x.avi" keep_top_k: 5 } }""")
    with caplog.at_level(logging.INFO, "caffe"):
        net = caffe.Net(str(tmp_path / "net.pt"), caffe.TEST)
    assert "the fields save_output_param, visualize, visualize_threshold, save_file of the SSD fork" in caplog.text
    assert net.blobs["out"].shape == (1, 1, 1, 7)
    net.blobs["prior"].data[...] = 0.5
    net.blobs["conf"].data[0, 1] = 0.75
    found = net.forward()["out"]
    assert found.shape == (1, 1, 4, 7) and found[0, 0, 0].tolist() == [0, 1, 0.75, 0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("text, match", [
    ("", "num_classes must leave a class besides the background, found 0"),
    ("num_classes: 1", "num_classes must leave a class besides the background, found 1"),
    ("num_classes: 5 background_label_id: 5", "background_label_id must be below num_classes 5, found 5"),
    ("num_classes: 5 nms_param { nms_threshold: -0.1 }", "nms_threshold must be at least 0"),
    ("num_classes: 5 nms_param { nms_threshold: nan }", "nms_threshold must be at least 0, found nan"),
    ("num_classes: 5 nms_param { eta: 0 }", "eta must be above 0 and at most 1, found 0"),
    ("num_classes: 5 nms_param { eta: 1.5 }", "eta must be above 0 and at most 1, found 1.5"),
    ("num_classes: 5 confidence_threshold: nan", "confidence_threshold must be a number"),
    ("num_classes: 4", r"3 default boxes need 12 scores for each image, 4 for each box, found shape \(2, 15\)"),
    ("num_classes: 5 share_location: false", r"3 default boxes need 60 offsets for each image, 20 for each box"),
])
def test_bad_parameters(text, match):
    refused(f"type: 'DetectionOutput' detection_output_param {{ {text} }}", [(2, 12), (2, 15), (1, 2, 12)], match)


@pytest.mark.parametrize("shapes, match", [
    ([(2, 12), (2, 15), (1, 1, 12)], r"variances \(1, 2, 4 P\), as of PriorBox, found shape \(1, 1, 12\)"),
    ([(2, 12), (2, 15), (2, 2, 12)], "as of PriorBox"),
    ([(2, 12), (2, 15), (1, 2, 10)], "as of PriorBox"),
    ([(2, 12), (2, 15), (2, 12)], "as of PriorBox"),
    ([(2, 13), (2, 15), (1, 2, 12)], "need 12 offsets for each image"),
    ([(), (2, 15), (1, 2, 12)], "need 12 offsets for each image"),
    ([(2, 12), (3, 15), (1, 2, 12)], "offsets of 2 images do not fit scores of 3"),
])
def test_bad_bottoms(shapes, match):
    refused("type: 'DetectionOutput' detection_output_param { num_classes: 5 }", shapes, match)


def test_without_gradient():
    layer = Runner(f"type: 'DetectionOutput' detection_output_param {{ {SSD} }}", bottoms()).layer
    assert layer.no_backward_to == layer.not_forced == (0, 1, 2, 3)
