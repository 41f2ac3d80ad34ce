"""DetectionEvaluate: match detections with the ground truth."""
from __future__ import annotations

import numpy as np

from ..bases.box_areas import overlaps
from ..bases.images import to_tensor
from ..bases.resizing import check_resize, resized_window
from ..layer import Layer, register

_DETECTION, _OBJECT = 7, 8      # values per row
_BOX, _DIFFICULT = slice(3, 7), 7


@register("DetectionEvaluate")
class DetectionEvaluate(Layer):
    """Match detections with ground-truth objects, for the mean average precision of solvers with eval_type "detection".

    bottoms  detections (1, 1, D, 7), as from DetectionOutput: batch index, class (-1: none), score, x1, y1, x2, y2;
             objects (1, 1, G, 8), as from AnnotatedData: batch index (-1: none), class, instance, x1, y1, x2, y2,
             difficult; boxes are normalised by the image's width and height
    tops     (1, 1, C + D', 5). First one row for each of the C classes, without the background: -1, class, number of
             objects, -1, -1; then one for each of the D' detections: image, class, score, true positive (0 or 1), false
             positive (0 or 1), by image, class and descending score. (1, 1, C, 5) until the first forward pass
    param    detection_evaluate_param: num_classes, background_label_id (0), overlap_threshold (0.5),
             evaluate_difficult_gt (true), name_size_file (sizes of all images in order, to compute overlaps in pixels
             with inclusive corners), resize_param (how the net's images were resized)

    Detections are matched in descending order of score, each with the object of its image and class that it overlaps
    most. It is a true positive if that IoU is at least overlap_threshold and no earlier detection has matched the
    object. With evaluate_difficult_gt: false, difficult objects are not counted, and detections matched with them are
    neither true nor false positives.
    No gradient. Source: src/caffe/layers/detection_evaluate_layer.cpp of SSD.
    """

    exact_bottoms = 2
    exact_tops = 1
    no_backward_to = not_forced = (0, 1)
    backward_reads_bottoms = backward_reads_tops = False

    def setup(self, bottom, top):
        param = self.settings = self.param.detection_evaluate_param
        self.labels = [label for label in range(param.num_classes) if label != param.background_label_id]
        if not self.labels:
            self.fail(f"num_classes must leave a class besides the background, found {param.num_classes}")
        if not param.overlap_threshold > 0:
            self.fail(f"overlap_threshold must be above 0, found {param.overlap_threshold}")
        if param.HasField("resize_param"):
            check_resize(self, param.resize_param)
        self.sizes = self._read_sizes() if param.name_size_file else []
        self.next_image = 0         # index into `sizes`

    def _read_sizes(self) -> list[tuple[int, int]]:
        """The (height, width) of each image in name_size_file."""
        path, sizes = self.settings.name_size_file, []
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                for number, line in enumerate(file, 1):
                    words = line.split()
                    if len(words) < 3 or not all(word.isdecimal() and int(word) for word in words[-2:]):
                        self.fail(f"{path}:{number}: expected `name height width`, found '{line.rstrip()}'")
                    sizes.append((int(words[-2]), int(words[-1])))
        except OSError as error:
            self.fail(f"cannot read name_size_file '{path}': {error.strerror}")
        if not sizes:
            self.fail(f"name_size_file '{path}' names no image")
        return sizes

    def reshape(self, bottom, top):
        for what, blob, length in (("detections", bottom[0], _DETECTION), ("objects", bottom[1], _OBJECT)):
            if blob.shape[-1:] != (length,):
                self.fail(f"expected {what} of {length} values (1, 1, N, {length}), found shape {blob.shape}")
        top[0].reshape(1, 1, len(self.labels), 5)

    def forward(self, bottom, top):
        detections = _host_rows(bottom[0], _DETECTION)
        objects = _host_rows(bottom[1], _OBJECT)
        images = 1 + int(max(detections[:, 0].max(initial=-1), objects[:, 0].max(initial=-1)))
        detections, objects = detections[detections[:, 1] != -1], objects[objects[:, 0] >= 0]
        for rows in (detections, objects):
            wrong = rows[~np.isin(rows[:, 1], self.labels), 1]
            if len(wrong):
                self.fail(f"expected classes below num_classes {self.settings.num_classes}, without the background's "
                          f"{self.settings.background_label_id}; found {wrong[0]:g}")
        found = np.concatenate([self._counts(objects), self._judged(detections, objects)])
        if self.sizes:
            self.next_image = (self.next_image + images) % len(self.sizes)
        top[0].reshape(1, 1, *found.shape)
        top[0].tensor = to_tensor(found[None, None])

    def _counts(self, objects: np.ndarray) -> np.ndarray:
        """The rows of the classes, (C, 5)."""
        if not self.settings.evaluate_difficult_gt:
            objects = objects[objects[:, _DIFFICULT] == 0]
        numbers = np.bincount(objects[:, 1].astype(int), minlength=self.settings.num_classes)
        return np.array([[-1, label, numbers[label], -1, -1] for label in self.labels], np.float64)

    def _judged(self, detections: np.ndarray, objects: np.ndarray) -> np.ndarray:
        """The rows of the detections, (D', 5)."""
        order = np.lexsort((-detections[:, 2], detections[:, 1], detections[:, 0]))
        detections = detections[order]
        judged = np.hstack([detections[:, :3], np.zeros((len(detections), 2))])
        detections, objects = self._in_pixels(detections), self._in_pixels(objects)
        for image, label in np.unique(detections[:, :2], axis=0):
            of_both = (detections[:, 0] == image) & (detections[:, 1] == label)
            own = objects[(objects[:, 0] == image) & (objects[:, 1] == label)]
            judged[of_both, 3:] = self._right_and_wrong(detections[of_both, _BOX], own)
        return judged

    def _right_and_wrong(self, boxes: np.ndarray, objects: np.ndarray) -> np.ndarray:
        """True and false positives (D, 2) among the boxes (D, 4) of one image and class, by descending score."""
        found, taken = np.zeros((len(boxes), 2)), set()
        for row, box in enumerate(boxes):
            shares = overlaps(box, objects[:, _BOX]).astype(np.float32)        # the threshold's type
            best = int(shares.argmax()) if len(shares) else -1
            if best < 0 or shares[best] < self.settings.overlap_threshold:
                found[row] = 0, 1
            elif self.settings.evaluate_difficult_gt or not objects[best, _DIFFICULT]:
                found[row] = (0, 1) if best in taken else (1, 0)
                taken.add(best)
        return found

    def _in_pixels(self, rows: np.ndarray) -> np.ndarray:
        """The rows with boxes in pixels of the original images, from edge to edge; unchanged without name_size_file."""
        if not self.sizes:
            return rows
        param, rows = self.settings, rows.copy()
        for image in np.unique(rows[:, 0]):
            height, width = self.sizes[(self.next_image + int(image)) % len(self.sizes)]
            own = rows[:, 0] == image
            boxes = rows[own, _BOX].reshape(-1, 2, 2)
            if param.HasField("resize_param"):
                window = resized_window(height, width, param.resize_param)
                boxes = window[:2] + boxes * (window[2:] - window[:2])
            pixels = (boxes.clip(0, 1) * [width, height]).reshape(-1, 4)
            pixels[:, 2:] += 1
            rows[own, _BOX] = pixels
        return rows

    def backward(self, top, propagate_down, bottom):
        """No gradient."""


def _host_rows(blob, length: int) -> np.ndarray:
    return blob.tensor.detach().cpu().numpy().astype(np.float64).reshape(-1, length)
