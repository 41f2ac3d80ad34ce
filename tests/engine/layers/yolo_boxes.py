"""YOLO's detections by loops, written from the rules of the papers and the published layers."""
import math

import numpy as np


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def overlap(one, other):
    """IoU of boxes from corner to corner."""
    sides = [min(one[2 + axis], other[2 + axis]) - max(one[axis], other[axis]) for axis in (0, 1)]
    if min(sides) < 0:
        return 0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return sides[0] * sides[1] / (sum(areas) - sides[0] * sides[1])


def boxes_of(maps, anchors, image):
    """For each bottom, cell (row by row) and box: corners, objectness logit and class logits.

    anchors  for each bottom, widths and heights in cells
    """
    for value, sizes in zip(maps, anchors, strict=True):
        height, width = value.shape[2:]
        apart = value[image].reshape(len(sizes), -1, height, width)
        for y, x, index in np.ndindex(height, width, len(sizes)):
            numbers = apart[index, :, y, x]
            centre = (x + sigmoid(numbers[0])) / width, (y + sigmoid(numbers[1])) / height
            half = [math.exp(number) * size / length / 2
                    for number, size, length in zip(numbers[2:4], sizes[index], (width, height), strict=True)]
            yield ((centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1]), numbers[4],
                   numbers[5:])


def detections(candidates_of_images, threshold):
    """The expected top. candidates_of_images: (score, class, box) tuples of each image."""
    rows = []
    for image, candidates in enumerate(candidates_of_images):
        kept = []
        for score, label, box in sorted(candidates, key=lambda one: -one[0]):
            if all(overlap(box, other) < threshold for _, _, other in kept):
                kept.append((score, label, box))
        rows += [(image, label, score, *box) for score, label, box in kept]
    return np.array(rows or [(image, *[-1] * 6) for image in range(len(candidates_of_images))], float)[None, None]
