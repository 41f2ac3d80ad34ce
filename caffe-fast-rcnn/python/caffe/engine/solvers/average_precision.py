"""Average precision of detections, as SSD computes it."""
from __future__ import annotations

import numpy as np

AP_VERSIONS = ("11point", "MaxIntegral", "Integral")


def average_precision(scores: np.ndarray, is_right: np.ndarray, objects: int, version: str) -> float:
    """The area under the precision-recall curve; 0 without objects or detections.

    11point      mean of the maximum precisions at recall of at least 0, 0.1, ..., 1: VOC2007
    MaxIntegral  area under the maximum precision at this or a higher recall: VOC2012
    Integral     sum over detections of precision times the increase in recall

    scores    (D,), in any order; ties keep their order
    is_right  (D,) bool, whether a detection is a true positive
    objects   number of ground-truth objects
    """
    if not objects or not len(scores):
        return 0.0
    right = np.cumsum(is_right[np.argsort(-scores, kind="stable")])
    precision, recall = right / np.arange(1, len(right) + 1), right / objects
    highest = np.maximum.accumulate(precision[::-1])[::-1]      # at this recall, or a higher one
    if version == "11point":
        places = np.searchsorted(recall, np.arange(11) / 10)
        return float(np.append(highest, 0)[places].sum() / 11)
    growth = np.diff(recall, prepend=0)
    return float((growth * (highest if version == "MaxIntegral" else precision)).sum())
