"""ONNX conversion of DetectionOutput, with one NonMaxSuppression for all images and classes."""
from __future__ import annotations

import numpy as np

from ..proto import caffe_pb2
from .onnx_graph import Step, converts

_Codes = caffe_pb2.PriorBoxParameter


@converts("DetectionOutput")
def detection_output(step: Step):
    layer, images = step.layer, step.shape[0]
    param = layer.param.detection_output_param
    if param.nms_param.eta < 1:
        step.refuse("eta is below 1, but ONNX's NonMaxSuppression has only one threshold")
    if 0 in (layer.top_k, param.keep_top_k):
        step.refuse("top_k or keep_top_k is 0: it would never find anything")
    labels = [label for label in range(layer.classes) if label != layer.background]
    most = min(layer.top_k, layer.count) if layer.top_k >= 0 else layer.count
    scores, order = _sorted_scores(step, labels, most)
    boxes = _sorted_boxes(step, order, len(labels))
    kept = _suppressed(step, boxes, scores, images, len(labels), most)
    if param.keep_top_k >= 0:
        kept = _best_of_images(step, scores, kept, min(param.keep_top_k, len(labels) * most), images)
    places = step.node("Transpose", step.node("NonZero", kept), perm=[1, 0])     # image, class, rank
    image, index = (step.cut(places, [axis], [axis + 1], [1]) for axis in (0, 1))
    label = step.node("Gather", step.array(np.array(labels, np.float32)), index, axis=0)
    score = step.node("Unsqueeze", step.node("GatherND", scores, places), step.ints(1))
    rows = step.node("Concat", step.as_floats(image), label, score, step.node("GatherND", boxes, places), axis=1)
    top = step.node("Unsqueeze", step.node("Concat", rows, without_detections(step, rows, images), axis=0),
                    step.ints(0, 1))
    step.set_varying(top, axis=2)
    return top


def _sorted_scores(step: Step, labels: list[int], most: int) -> list[str]:
    """The best scores of each class and the indices of their boxes, (N, C, K) each; ties keep the order of boxes."""
    layer = step.layer
    scores = step.reshaped(step.inputs[1], step.bottoms[1].shape, (step.shape[0], layer.count, layer.classes))
    scores = step.node("Gather", step.node("Transpose", scores, perm=[0, 2, 1]), step.ints(*labels), axis=1)
    return step.nodes("TopK", [scores, step.ints(most)], 2, axis=2)


def _sorted_boxes(step: Step, order: str, classes: int) -> str:
    """The predicted boxes, ordered by score, (N, C, K, 4)."""
    layer = step.layer
    param, shape = layer.param.detection_output_param, (step.shape[0], layer.count, layer.locations, 4)
    offsets = step.reshaped(step.inputs[0], step.shape, shape)
    apart = step.node("Reshape", step.inputs[2], step.ints(step.bottoms[2].shape[1], layer.count, 1, 4))
    if not param.variance_encoded_in_target:
        offsets = step.node("Mul", offsets, step.cut(apart, [1], [2], [0]))
    boxes = step.node("Transpose", _decoded(step, offsets, step.cut(apart, [0], [1], [0]), param.code_type),
                      perm=[0, 2, 1, 3])
    if layer.locations == 1:
        boxes = step.node("Expand", boxes, step.ints(1, classes, 1, 1))
    else:
        boxes = step.node("Gather", boxes, step.ints(*(label for label in range(layer.classes)
                                                       if label != layer.background)), axis=1)
    return step.node("GatherND", boxes, step.node("Unsqueeze", order, step.ints(3)), batch_dims=2)


def _decoded(step: Step, offsets: str, priors: str, code: int) -> str:
    """`default_boxes.decoded`, for offsets (N, P, L, 4) and default boxes (1, P, 1, 4)."""
    def half(value: str, first: int) -> str:
        return step.cut(value, [first], [first + 2], [3])
    first, last = half(priors, 0), half(priors, 2)
    size = step.node("Sub", last, first)
    if code == _Codes.CENTER_SIZE:
        centres = step.node("Add", step.node("Mul", half(offsets, 0), size),
                            step.times(step.node("Add", first, last), 0.5))
        halves = step.times(step.node("Mul", step.node("Exp", half(offsets, 2)), size), 0.5)
        return step.node("Concat", step.node("Sub", centres, halves), step.node("Add", centres, halves), axis=3)
    if code == _Codes.CORNER_SIZE:
        offsets = step.node("Mul", offsets, step.node("Concat", size, size, axis=3))
    return step.node("Add", priors, offsets)


def _suppressed(step: Step, boxes: str, scores: str, images: int, classes: int, most: int) -> str:
    """Which boxes survive the suppression within their image and class, (N, C, K) bool.

    An inverted box overlaps nothing, but ONNX would swap its corners; here it gets an area of 0 instead.
    """
    param, groups = step.layer.param.detection_output_param, images * classes
    first = step.cut(boxes, [0], [2], [3])
    upright = step.node("Concat", first, step.node("Max", first, step.cut(boxes, [2], [4], [3])), axis=3)
    found = step.node("NonMaxSuppression", step.node("Reshape", upright, step.ints(groups, most, 4)),
                      step.node("Reshape", scores, step.ints(groups, 1, most)), step.ints(most),
                      step.floats([min(param.nms_param.nms_threshold, 1)]), step.floats([step.layer.least_score]))
    places = step.node("Gather", found, step.ints(0, 2), axis=1)
    ones = step.node("Expand", step.floats(1), step.node("Shape", places, end=1))
    kept = step.node("ScatterND", step.filled((groups, most), 0), places, ones)
    return step.as_flags(step.node("Reshape", kept, step.ints(images, classes, most)))


def _best_of_images(step: Step, scores: str, kept: str, most: int, images: int) -> str:
    """`kept`, limited to the `most` highest scores of each image."""
    flat = step.node("Reshape", step.node("Where", kept, scores, step.floats(-np.inf)), step.ints(images, -1))
    order = step.nodes("TopK", [flat, step.ints(most)], 2, axis=1)[1]
    best = step.node("ScatterElements", step.node("Expand", step.floats(0), step.node("Shape", flat)), order,
                     step.filled((images, most), 1), axis=1)
    return step.node("And", kept, step.as_flags(step.node("Reshape", best, step.node("Shape", kept))))


def without_detections(step: Step, rows: str, images: int) -> str:
    """One row per image if there are no detections at all, otherwise none."""
    none = np.full((images, 7), -1, np.float32)
    none[:, 0] = np.arange(images)
    is_empty = step.node("Equal", step.length(rows, 0), step.ints(0))
    return step.node("Compress", step.array(none), step.node("Expand", is_empty, step.ints(images)), axis=0)
