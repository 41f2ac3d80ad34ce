"""Yolov3: the loss of one feature map of YOLO v3."""
from __future__ import annotations

import numpy as np
import torch

from ..bases import box_areas
from ..bases.default_boxes import overlaps
from ..bases.losses import LossLayer
from ..bases.yolo import predicted_boxes
from ..layer import register

_OBJECTNESS = 4         # index in the values of a box: x, y, w, h, objectness logit, class logits


@register("Yolov3")
class Yolov3(LossLayer):
    """The loss of one feature map of YOLO v3: the sum of the squares of all differences / N

    bottoms  feature map (N, num (5 + num_class), H, W): for each of num boxes x, y, w, h, the objectness logit, and the
             class logits; objects (N, 1, G, 5): class, counted from 0, x and y of the centre, width and height,
             normalised by the image's size; they end at the first row of width 0
    tops     loss ()
    param    yolov3_param: num_class (20), num (5), biases: width and height in pixels of the anchors of all feature
             maps; mask: the indices of this map's anchors; anchors_scale: pixels per cell (32); thresh (0.2),
             object_scale (1), class_scale (1), coord_scale (5), use_logic_gradient (false)

    With s the sigmoid and m = mask[b], box b of cell (i, j) has the centre ((i + s(x)) / W, (j + s(y)) / H) and the
    size (exp(w) biases[2 m] / (W anchors_scale), exp(h) biases[2 m + 1] / (H anchors_scale)). An object is assigned to
    the cell that contains its centre and to the anchor that has the largest IoU with it when both are centred, provided
    that this anchor belongs to this map.
    Differences of a box with an object
      x, y, w, h  coord_scale (2 - area of the object) times s(x), s(y), w, h minus their targets
      objectness  s(objectness) - 1, with use_logic_gradient times object_scale
      classes     class_scale times s(class) - 1 for the object's class, s(class) for the others. If several objects
                  share a box, the first sets these, each further one sets that of its class to 1 - s(class), the sign
                  being that of the source; the last sets x, y, w, h
    Difference of any other box: s(objectness), but 0 if its IoU with an object is above thresh.
    The gradient is differences / N, that of the cross-entropy rather than of the loss; with use_logic_gradient those of
    x, y, objectness and classes are multiplied by s (1 - s). side and noobject_scale have no effect.
    Redmon and Farhadi, "YOLOv3", 2018. Source: src/caffe/layers/yolov3_layer.cpp of MobileNet-YOLO, which takes square
    feature maps and at most 300 objects.
    """

    backward_reads_bottoms = backward_reads_tops = False
    unread_settings = ("yolov3_param.side", "yolov3_param.noobject_scale")

    def setup(self, bottom, top):
        param = self.settings = self.param.yolov3_param
        pairs = len(param.biases) // 2
        if min(param.num, param.num_class, param.anchors_scale) < 1:
            self.fail(f"num, num_class and anchors_scale must be at least 1, found {param.num}, {param.num_class} and "
                      f"{param.anchors_scale}")
        if len(param.biases) % 2 or not pairs or min(param.biases) <= 0:
            self.fail(f"biases are widths and heights above 0, in pairs; found {list(param.biases)}")
        if len(param.mask) != param.num or max(param.mask) >= pairs or len({*param.mask}) < param.num:
            self.fail(f"mask needs {param.num} different numbers below {pairs}, the number of pairs of biases; found "
                      f"{list(param.mask)}")
        self.anchors = np.array(param.biases, np.float64).reshape(-1, 2) / param.anchors_scale      # in cells

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        shape, channels = bottom[0].shape, self.settings.num * (5 + self.settings.num_class)
        if len(shape) != 4 or shape[1] != channels:
            self.fail(f"{self.settings.num} boxes of {self.settings.num_class} classes need a map "
                      f"(N, {channels}, H, W), found shape {shape}")
        if bottom[1].shape[-1:] != (5,):
            self.fail(f"expected objects of 5 values (N, 1, G, 5), found shape {bottom[1].shape}; AnnotatedData gives "
                      "them with yolo_data_type: 1")

    def forward(self, bottom, top):
        objects = self._objects(bottom[1].tensor)
        values = self._by_place(bottom[0].tensor)
        with torch.no_grad():
            self.values = torch.cat([values[..., :2].sigmoid(), values[..., 2:4], values[..., 4:].sigmoid()], -1)
            self.difference = torch.zeros_like(self.values)
            most = self._largest_overlaps(objects)
            empty = self.values[..., _OBJECTNESS]
            self.difference[..., _OBJECTNESS] = empty.where(most <= self.settings.thresh, 0)
            self._compare(objects)
            top[0].tensor = self.difference.square().sum() / len(values)

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            slope = self.difference * (top[0].grad / len(self.difference))
            if self.settings.use_logic_gradient:
                factor = self.values * (1 - self.values)
                factor[..., 2:4] = 1
                slope = slope * factor
            num, height, width, boxes, each = slope.shape
            slope = slope.permute(0, 3, 4, 1, 2).reshape(num, boxes * each, height, width)
            bottom[0].grad = slope

    def _by_place(self, value: torch.Tensor) -> torch.Tensor:
        """The feature map as (N, H, W, num, 5 + num_class)."""
        num, _, height, width = value.shape
        return value.reshape(num, self.settings.num, -1, height, width).permute(0, 3, 4, 1, 2)

    def _objects(self, tensor: torch.Tensor) -> list[np.ndarray]:
        """The objects (G, 5) of each image. Raises LayerError for a class out of range."""
        rows = tensor.detach().cpu().double().numpy().reshape(len(tensor), -1, 5)
        found = [image[:np.append(np.flatnonzero(image[:, 3] == 0), len(image))[0]] for image in rows]
        labels = np.concatenate(found)[:, 0]
        if len(labels) and not (0 <= labels.min() and labels.max() < self.settings.num_class):
            self.fail(f"classes must be in 0..{self.settings.num_class - 1}, found {labels.min():g} to "
                      f"{labels.max():g}")
        return found

    def _largest_overlaps(self, objects: list[np.ndarray]) -> torch.Tensor:
        """The largest IoU of each predicted box with the objects of its image, (N, H, W, num)."""
        boxes = predicted_boxes(self.values[..., :2], self.values[..., 2:4], self.anchors[list(self.settings.mask)])
        most = boxes.new_zeros(boxes.shape[:-1])
        for image, rows in enumerate(objects):
            if len(rows):
                most[image] = overlaps(boxes[image][..., None, :], boxes.new_tensor(_corners(rows[:, 1:]))).amax(-1)
        return most

    def _compare(self, objects: list[np.ndarray]) -> None:
        """Set the differences of all boxes that objects are assigned to."""
        param, (_, height, width, _, _) = self.settings, self.values.shape
        size, own = np.array([width, height]), list(param.mask)
        sizes = self.anchors / size
        seen = set[tuple[int, ...]]()
        for image, rows in enumerate(objects):
            for label, *box in rows:
                centre, extent = np.array(box[:2]), np.array(box[2:])
                best = int(box_areas.overlaps(_centred(sizes), _centred(extent)).argmax())
                if best not in own:
                    continue
                i, j = np.minimum((centre * size).astype(int), size - 1)
                place = (image, int(j), int(i), own.index(best))
                target = np.concatenate([centre * size - [i, j], np.log(extent / sizes[best])])
                self._compare_one(place, int(label), target, param.coord_scale * (2 - extent.prod()), place in seen)
                seen.add(place)

    def _compare_one(self, place: tuple[int, ...], label: int, target: np.ndarray, scale: float,
                     is_taken: bool) -> None:
        param, value, difference = self.settings, self.values[place], self.difference[place]
        difference[:4] = (value[:4] - value.new_tensor(target)) * scale
        difference[4] = (value[4] - 1) * (param.object_scale if param.use_logic_gradient else 1)
        if is_taken:
            difference[5 + label] = 1 - value[5 + label]
            return
        difference[5:] = value[5:] * param.class_scale
        difference[5 + label] -= param.class_scale


def _corners(boxes: np.ndarray) -> np.ndarray:
    """Boxes (..., 4), given by centre, width and height, as x1, y1, x2, y2."""
    return np.concatenate([boxes[..., :2], boxes[..., :2]], -1) + _centred(boxes[..., 2:])


def _centred(sizes: np.ndarray) -> np.ndarray:
    """Boxes of sizes (..., 2) centred at 0, as x1, y1, x2, y2."""
    return np.concatenate([-sizes / 2, sizes / 2], -1)
