"""ONNX conversion of YOLO's detection layers, with one NonMaxSuppression for all images."""
from __future__ import annotations

import numpy as np

from ..engine.bases.yolo import cells_of
from .onnx_detections import without_detections
from .onnx_graph import Step, converts
from .onnx_part import Shape


@converts("YoloDetectionOutput", "Yolov3DetectionOutput")
def yolo_detections(step: Step):
    layer, images = step.layer, step.shape[0]
    parts = [_predicted(step, value, blob.shape, anchors) for value, blob, anchors in zip(
        step.inputs, step.bottoms, layer.anchors, strict=True)]
    boxes, scores, labels = (step.node("Concat", *values, axis=1) for values in zip(*parts, strict=True))
    found = step.node("NonMaxSuppression", boxes, step.node("Unsqueeze", scores, step.ints(1)), step.length(boxes, 1),
                      step.floats([layer.most_overlap]), step.floats([layer.least_score]))
    places = step.node("Gather", found, step.ints(0, 2), axis=1)
    label, score = (step.node("Unsqueeze", step.node("GatherND", values, places), step.ints(1))
                    for values in (labels, scores))
    rows = step.node("Concat", step.as_floats(step.cut(places, [0], [1], [1])), step.plus(step.as_floats(label), 1),
                     score, step.node("GatherND", boxes, places), axis=1)
    top = step.node("Unsqueeze", step.node("Concat", rows, without_detections(step, rows, images), axis=0),
                    step.ints(0, 1))
    step.set_varying(top, axis=2)
    return top


def _predicted(step: Step, value: str, shape: Shape, anchors: np.ndarray) -> tuple[str, str, str]:
    """Boxes (N, K, 4), scores and best classes (N, K) of one bottom."""
    layer, (images, _, height, width) = step.layer, shape
    apart = step.reshaped(value, shape, (images, layer.boxes, 5 + layer.classes, height, width))
    apart = step.node("Reshape", step.node("Transpose", apart, perm=[0, 3, 4, 1, 2]),
                      step.ints(images, -1, 5 + layer.classes))
    size = np.array([width, height])
    cells = np.repeat(cells_of(height, width).reshape(-1, 2), layer.boxes, axis=0)
    places = step.node("Add", step.node("Sigmoid", step.cut(apart, [0], [2], [2])), step.floats(cells))
    centres = step.node("Div", places, step.floats(size))
    halves = step.node("Mul", step.node("Exp", step.cut(apart, [2], [4], [2])),
                       step.floats(np.tile(anchors / size / 2, (height * width, 1))))
    boxes = step.node("Concat", step.node("Sub", centres, halves), step.node("Add", centres, halves), axis=2)
    of_classes = step.cut(apart, [5], [5 + layer.classes], [2])
    of_classes = step.node("Softmax", of_classes, axis=2) if layer.type == "YoloDetectionOutput" else \
        step.node("Sigmoid", of_classes)
    scores = step.node("Mul", step.node("Sigmoid", step.cut(apart, [4], [5], [2])), of_classes)
    best = step.reduced("ReduceMax", scores, [2], keepdims=False)
    return boxes, best, step.node("ArgMax", scores, axis=2, keepdims=0)
