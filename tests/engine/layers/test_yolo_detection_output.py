"""YoloDetectionOutput against loops over images, cells and boxes."""
import numpy as np
import pytest
from layer_checker import Runner, check, randn, refused
from yolo_boxes import boxes_of, detections, sigmoid

from caffe.proto import caffe_pb2
from caffe.proto.prototxt import parse

PLAIN = "num_classes: 3 num_box: 2 biases: 1.5 biases: 2 biases: 3 biases: 0.75 "


def layer(text):
    return f"type: 'YoloDetectionOutput' yolo_detection_output_param {{ {text} }}"


def maps(count=1):
    return [2 * randn(2, 16, 3 + index, 5 + index) for index in range(count)]


def oracle(text):
    param = parse(text, caffe_pb2.YoloDetectionOutputParameter())

    def expected(*bottoms):
        anchors = [np.reshape(list(param.biases), (-1, 2))] * len(bottoms)
        found = []
        for image in range(len(bottoms[0])):
            found.append([])
            for box, thing, logits in boxes_of(bottoms, anchors, image):
                label = int(np.argmax(logits))
                score = sigmoid(thing) * np.exp(logits[label]) / np.exp(logits).sum()
                if score >= param.confidence_threshold:
                    found[-1].append((score, label + 1, box))
        return detections(found, param.nms_threshold)
    return expected


@pytest.mark.parametrize("text, bottoms", [
    (PLAIN, 1), (PLAIN, 2), (PLAIN + "confidence_threshold: 0.4 nms_threshold: 0.2 side: 5", 2),
    (PLAIN + "confidence_threshold: 2 label_map_file: 'nowhere'", 1)])
def test_values(text, bottoms):
    check(layer(text), maps(bottoms), oracle(text), gradient=False, tolerance=1e-4)


def test_a_score_at_the_threshold_counts():
    value = np.zeros((1, 16, 1, 1))
    value[0, [5, 13, 12, 4], 0, 0] = 200, 200, -200, 0         # scores 1/2 and 0
    found = Runner(layer(PLAIN + "confidence_threshold: 0.5"), [value]).forward()[0][0, 0]
    np.testing.assert_allclose(found, [[0, 1, 0.5, -0.25, -0.5, 1.25, 1.5]], rtol=1e-6)


@pytest.mark.parametrize("text, match", [
    (PLAIN + "coords: 5", "coords must be 4, found 5"), (PLAIN + "biases: 1", "num_box 2 needs 4 biases, found 5"),
    ("num_box: 0", "num_box must be at least 1"), (PLAIN + "nms_threshold: 1.5", "at most 1, found 1.5"),
    (PLAIN + "confidence_threshold: nan", "confidence_threshold must be a number"),
    (PLAIN.replace("classes: 3", "classes: 20"), r"2 boxes of 20 classes need bottoms \(N, 50, H, W\)")])
def test_bad_parameters(text, match):
    refused(layer(text), [(2, 16, 5, 4)], match)


def test_without_gradient():
    tested = Runner(layer(PLAIN), maps()).layer
    assert tested.no_backward_to == tested.not_forced == (0, 1)
