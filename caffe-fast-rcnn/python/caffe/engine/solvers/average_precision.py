"""Average precision of detections, as SSD computes it."""
from __future__ import annotations

import numpy as np

AP_VERSIONS = ("11point", "MaxIntegral", "Integral")


def average_precision(scores: np.ndarray, is_right: np.ndarray, objects: int, version: str) -> float:
    """The area below the curve of precision over recall, 0 without objects or detections.

    11point      mean of the highest precisions at a recall of at least 0, 0.1, ..., 1: VOC2007
    MaxIntegral  area below the highest precision at each or a higher recall: VOC2012
    Integral     sum of precision times the growth of recall, detection by detection

    scores    (D,), in any order; of equal scores the first counts first
    is_right  (D,) bool
    objects   number of objects to be found
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
