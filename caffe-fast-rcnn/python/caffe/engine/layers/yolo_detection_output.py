"""YoloDetectionOutput: decode the feature maps of YOLO v2 into detections."""
from __future__ import annotations

import numpy as np

from ..bases.yolo import YoloDetectionLayer, just_below
from ..layer import register


@register("YoloDetectionOutput")
class YoloDetectionOutput(YoloDetectionLayer):
    """YOLO v2's detections: decoded boxes after non-maximum suppression across classes.

    bottoms  one or two feature maps (N, num_box (5 + num_classes), H, W): for each box x, y, w, h, the objectness
             logit, and the class logits
    tops     (1, 1, D, 7): batch index, class, counted from 1, score, x1, y1, x2, y2, normalised by the image's width
             and height and not clipped; by image, then descending score. If nothing is detected, one row per image: its
             batch index and six values of -1. (1, 1, 1, 7) until the first forward pass
    param    yolo_detection_output_param: num_classes (20), num_box (5), biases: width and height of each anchor in
             cells, the same for all bottoms; confidence_threshold (0.01), nms_threshold (0.45); coords must be 4

    In cell (i, j), box b has the centre ((i + sigmoid(x)) / W, (j + sigmoid(y)) / H) and the size
    (exp(w) biases[2 b] / W, exp(h) biases[2 b + 1] / H). Its class is the most probable one by softmax; its score is
    sigmoid(objectness) times that probability and must be at least confidence_threshold. A box is dropped if its IoU
    with a better box that is kept is nms_threshold or more. Ties keep the order of bottoms, rows, columns and boxes.
    side and label_map_file have no effect: the size is that of the feature map, and the layer writes no names.
    No gradient.
    Redmon and Farhadi, "YOLO9000", 2016. Source: src/caffe/layers/yolo_detection_output_layer.cpp of MobileNet-YOLO,
    which takes square feature maps and suppresses across all images of a batch.
    """

    max_bottoms = 2
    no_backward_to = not_forced = (0, 1)
    unread_settings = ("yolo_detection_output_param.side", "yolo_detection_output_param.label_map_file")

    def setup(self, bottom, top):
        param = self.param.yolo_detection_output_param
        if param.coords != 4:
            self.fail(f"coords must be 4, found {param.coords}")
        if len(param.biases) != 2 * param.num_box:
            self.fail(f"num_box {param.num_box} needs {2 * param.num_box} biases, found {len(param.biases)}")
        anchors = np.array(param.biases, np.float64).reshape(-1, 2)
        self.take_settings(param, [anchors] * len(bottom), just_below(param.confidence_threshold))

    def class_scores(self, values):
        return values.softmax(-1)
