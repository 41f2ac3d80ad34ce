"""Yolov3DetectionOutput: decode the feature maps of YOLO v3 into detections."""
from __future__ import annotations

import numpy as np

from ..bases.yolo import YoloDetectionLayer
from ..layer import register


@register("Yolov3DetectionOutput")
class Yolov3DetectionOutput(YoloDetectionLayer):
    """YOLO v3's detections: decoded boxes after non-maximum suppression across classes.

    bottoms  feature maps (N, num_box (5 + num_classes), H, W): for each box x, y, w, h, the objectness logit, and the
             class logits
    tops     (1, 1, D, 7): batch index, class, counted from 1, score, x1, y1, x2, y2, normalised by the image's width
             and height and not clipped; by image, then descending score. If nothing is detected, one row per image: its
             batch index and six values of -1. (1, 1, 1, 7) until the first forward pass
    param    yolov3_detection_output_param: num_classes (20), num_box (3); biases: widths and heights of the anchors in
             image pixels; mask: num_box anchor indices per bottom; mask_group_num (2): the number of bottoms;
             anchors_scale: pixels per cell, for each bottom; confidence_threshold (0.01), nms_threshold (0.45)

    In cell (i, j), box b of a bottom, with m = mask[b] and s = anchors_scale, has the centre
    ((i + sigmoid(x)) / W, (j + sigmoid(y)) / H) and the size
    (exp(w) biases[2 m] / (s W), exp(h) biases[2 m + 1] / (s H)). A box has the class with the highest score, which is
    sigmoid(objectness) sigmoid(class) and must be above confidence_threshold; the other classes would be suppressed by
    it. A box is dropped if its IoU with a better box that is kept is nms_threshold or more. Ties keep the order of
    bottoms, rows, columns and boxes. No gradient.
    Redmon and Farhadi, "YOLOv3", 2018. Source: src/caffe/layers/yolov3_detection_output_layer.cpp of MobileNet-YOLO,
    which takes square feature maps and suppresses across all images of a batch.
    """

    max_bottoms = 4
    no_backward_to = not_forced = (0, 1, 2, 3)

    def setup(self, bottom, top):
        param = self.param.yolov3_detection_output_param
        count, biases = len(bottom), np.array(param.biases, np.float64)
        if param.mask_group_num != count:
            self.fail(f"mask_group_num must be the number of bottoms, {count}, found {param.mask_group_num}")
        if len(param.mask) != count * param.num_box:
            self.fail(f"{count} bottoms of {param.num_box} boxes need {count * param.num_box} masks, found "
                      f"{len(param.mask)}")
        if len(param.anchors_scale) != count or 0 in param.anchors_scale:
            self.fail(f"expected an anchors_scale above 0 for each of {count} bottoms, found "
                      f"{list(param.anchors_scale)}")
        last = max(param.mask, default=0)
        if len(biases) % 2 or last >= len(biases) // 2:
            self.fail(f"mask {last} needs biases in pairs, counted from 0, found {len(biases)} biases")
        groups = biases.reshape(-1, 2)[list(param.mask)].reshape(count, -1, 2)
        anchors = [group / scale for group, scale in zip(groups, param.anchors_scale, strict=True)]
        self.take_settings(param, anchors, param.confidence_threshold)

    def class_scores(self, values):
        return values.sigmoid()
