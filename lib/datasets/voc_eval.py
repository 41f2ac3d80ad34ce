"""py-faster-rcnn's evaluation of a file of detections against PASCAL VOC's XML files."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets.average_precision import Objects, average_precision
from datasets.average_precision import voc_ap as voc_ap
from datasets.detection_files import read_detections
from datasets.folders import read_image_set
from datasets.formats.voc.annotation import read_annotation


def voc_eval(detpath: str, annopath: str, imagesetfile: str, classname: str, cachedir: str | None = None,
             ovthresh: float = 0.5, use_07_metric: bool = False) -> tuple[np.ndarray, np.ndarray, float]:
    """Evaluate a file of detections against XML files; see `average_precision` for the results.

    detpath       file of detections, with `{}` for the class: lines `image score x1 y1 x2 y2`
    annopath      XML file of an image, with `{}` for its name; coordinates as in `detpath`
    imagesetfile  names of the images, one per line
    classname     case-insensitive
    cachedir      kept for py-faster-rcnn's callers; nothing is cached
    """
    objects = {}
    for name in read_image_set(Path(imagesetfile)):
        annotation = read_annotation(annopath.format(name))
        mine = [index for index, found in enumerate(annotation.names) if found.lower() == classname.lower()]
        objects[name] = Objects(annotation.boxes[mine], annotation.difficult[mine])
    return average_precision(read_detections(detpath.format(classname)), objects, ovthresh, use_07_metric)
