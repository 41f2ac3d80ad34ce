"""A data layer on a few pictures, and its batches."""
import cv2
import numpy as np
from layer_runner import make_layer, set_config

from roi_data_layer.layer import RoIDataLayer


def scene(folder, count=5, seed=0):
    """Entries with photographs of noise, each with two objects and three proposals."""
    rng, roidb = np.random.default_rng(seed), []
    for index in range(count):
        width, height = (64, 40) if index % 2 else (40, 56)
        path = str(folder / f"scene{index}.png")
        cv2.imwrite(path, rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
        boxes = [[2, 3, 20, 30], [5, 5, 35, 33], [2, 3, 20, 29], [0, 0, 9, 9], [30, 20, 39, 39]]
        targets = [[1, 0, 0, 0, 0], [2, 0, 0, 0, 0], [1, 0, .1, 0, .2], [0] * 5, [0] * 5]
        roidb.append({"image": path, "flipped": False, "width": width, "height": height,
                      "boxes": np.array(boxes, np.float32), "gt_classes": np.array([1, 2, 0, 0, 0]),
                      "max_overlaps": np.array([1, 1, 0.96, 0.2, 0], np.float32),
                      "max_classes": np.array([1, 2, 1, 1, 0]),
                      "bbox_targets": np.array(targets, np.float32)})
    return roidb


def small_settings(**train):
    return set_config({"TRAIN.SCALES": [40, 56], "TRAIN.MAX_SIZE": 80, "TRAIN.BATCH_SIZE": 4,
                       "TRAIN.BG_THRESH_LO": 0, "TRAIN.USE_PREFETCH": False,
                       **{f"TRAIN.{key}": value for key, value in train.items()}})


def data_layer(folder, tops=6, classes=3, count=5):
    layer, bottom, top = make_layer(RoIDataLayer, f"'num_classes': {classes}", [], tops)
    layer.set_roidb(scene(folder, count))
    return layer, bottom, top


def run(layer, bottom, top, times):
    batches = []
    for _ in range(times):
        layer.forward(bottom, top)
        batches.append([blob.data.copy() for blob in top])
    return batches


def assert_equal_batches(first, second):
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
