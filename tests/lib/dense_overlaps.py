"""Overlaps of roidb entries as py-faster-rcnn stores them."""
import numpy as np


def gt_overlaps(entry, num_classes):
    """(N, num_classes) float32: the highest IoU of each RoI in the column of its class, 0 elsewhere."""
    overlaps = np.zeros((len(entry["boxes"]), num_classes), np.float32)
    overlaps[np.arange(len(overlaps)), entry["max_classes"]] = entry["max_overlaps"]
    return overlaps
