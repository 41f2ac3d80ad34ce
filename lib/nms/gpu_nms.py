"""Greedy non-maximum suppression on a CUDA device, through the engine's own extension `caffe.nms`."""
from __future__ import annotations

import numpy as np

import caffe
from utils.other_caffe import has_nms


def gpu_nms(dets: np.ndarray, thresh: float, device_id: int = 0, max_keep: int = 0) -> list[int]:
    """As `py_cpu_nms` (a box is dropped at an IoU of more than `thresh`), computed on GPU `device_id`.

    Stops after `max_keep` boxes; 0 for no limit. Raises RuntimeError if this Caffe has no `caffe.nms`.
    """
    if not has_nms():
        raise RuntimeError("gpu_nms: this Caffe has no caffe.nms; set USE_GPU_NMS to False to use nms.cpu_nms")
    dets = np.asarray(dets, dtype=np.float32)
    return caffe.nms(dets, thresh, max_keep=max_keep, device=f"cuda:{device_id}").tolist()
