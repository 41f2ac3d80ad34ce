"""Yolov3DetectionOutput against loops over images, cells, boxes and classes."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused
from yolo_boxes import boxes_of, detections, sigmoid

from caffe.proto import caffe_pb2
from caffe.proto.prototxt import parse

ONE = "num_classes: 3 num_box: 2 mask_group_num: 1 anchors_scale: 8 mask: 2 mask: 0 " \
      "biases: 9 biases: 13 biases: 1 biases: 1 biases: 20 biases: 11 "
TWO = ONE.replace("mask_group_num: 1", "mask_group_num: 2") + "anchors_scale: 4 mask: 1 mask: 0 "


def layer(text):
    return f"type: 'Yolov3DetectionOutput' yolov3_detection_output_param {{ {text} }}"


def maps(count=1):
    return [2 * randn(2, 16, 3 + index, 5 + index) for index in range(count)]


def oracle(text):
    param = parse(text, caffe_pb2.Yolov3DetectionOutputParameter())
    biases = np.reshape(list(param.biases), (-1, 2))
    masks = np.reshape(param.mask, (param.mask_group_num, -1))
    anchors = [biases[mask] / scale for mask, scale in zip(masks, param.anchors_scale, strict=True)]

    def expected(*bottoms):
        found = [[(sigmoid(thing) * sigmoid(logit), label + 1, box)
                  for box, thing, logits in boxes_of(bottoms, anchors, image) for label, logit in enumerate(logits)
                  if sigmoid(thing) * sigmoid(logit) > param.confidence_threshold] for image in range(len(bottoms[0]))]
        return detections(found, param.nms_threshold)
    return expected


@pytest.mark.parametrize("text, bottoms", [
    (ONE, 1), (TWO, 2), (TWO + "confidence_threshold: 0.3 nms_threshold: 0.2", 2), (ONE + "nms_threshold: 0.9", 1),
    (ONE + "confidence_threshold: 1", 1)])
def test_values(text, bottoms):
    check(layer(text), maps(bottoms), oracle(text), gradient=False, tolerance=1e-4)


def test_the_published_rule_in_one_cell():
    """A box has its best class; a worse box that overlaps it is dropped, whatever its class."""
    value = np.full((1, 16, 1, 1), -9.0)
    value[0, [0, 1, 2, 3, 8, 9, 10, 11]] = 0
    value[0, [4, 6, 7], 0, 0] = 9, 1, 2
    value[0, [12, 13], 0, 0] = 1, 3
    text = ONE.replace("biases: 9 biases: 13", "biases: 16 biases: 12")
    found = Runner(layer(text), [value]).forward()[0][0, 0]
    logistic = sigmoid(9) * sigmoid(2)
    np.testing.assert_allclose(found, [[0, 3, logistic, 0.5 - 1.25, 0.5 - 0.6875, 0.5 + 1.25, 0.5 + 0.6875]], rtol=1e-6)


def test_an_image_without_detections_beside_one_with_some_has_no_row():
    value = maps()[0]
    value[0, 4::8] = -50
    found = Runner(layer(ONE), [value]).forward()[0][0, 0]
    assert (found[:, 0] == 1).all() and len(found) > 1


@pytest.mark.parametrize("change, match", [
    (("mask_group_num: 1", "mask_group_num: 2"), "mask_group_num must be the number of bottoms, 1, found 2"),
    (("mask: 2", ""), "1 bottoms of 2 boxes need 2 masks, found 1"),
    (("mask: 2", "mask: 3"), "mask 3 needs biases in pairs, counted from 0, found 6 biases"),
    (("biases: 11", ""), "mask 2 needs biases in pairs, counted from 0, found 5 biases"),
    (("anchors_scale: 8", ""), r"an anchors_scale above 0 for each of 1 bottoms, found \[\]"),
    (("anchors_scale: 8", "anchors_scale: 0"), r"an anchors_scale above 0 for each of 1 bottoms, found \[0\]"),
    (("num_classes: 3", "num_classes: 0"), "num_classes must be at least 1"),
    (("num_box: 2 mask_group_num: 1 anchors_scale: 8 mask: 2 mask: 0", "num_box: 0 mask_group_num: 1 anchors_scale: 8"),
     "num_box must be at least 1"),
    (("num_box", "nms_threshold: 0 num_box"), "nms_threshold must be above 0 and at most 1, found 0"),
    (("num_box", "nms_threshold: nan num_box"), "nms_threshold must be above 0 and at most 1, found nan"),
    (("num_box", "confidence_threshold: nan num_box"), "confidence_threshold must be a number"),
    (("num_classes: 3", "num_classes: 4"), r"4 classes need bottoms \(N, 18, H, W\), found shape \(2, 16, 5, 4\)"),
])
def test_bad_parameters(change, match):
    refused(layer(ONE.replace(*change)), [(2, 16, 5, 4)], match)


def test_bad_bottoms():
    refused(layer(TWO), [(2, 16, 5, 4), (3, 16, 5, 4)], "the same number of images, found 2 and 3")
    refused(layer(ONE), [(2, 16)], r"found shape \(2, 16\)")


def test_without_gradient():
    tested = Runner(layer(ONE), maps()).layer
    assert tested.no_backward_to == tested.not_forced == (0, 1, 2, 3)
