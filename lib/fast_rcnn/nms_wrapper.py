"""Non-maximum suppression on the available device."""
from __future__ import annotations

import numpy as np

from fast_rcnn.config import cfg
from nms.cpu_nms import cpu_nms
from nms.gpu_nms import gpu_nms
from utils.other_caffe import has_gpu, has_nms


def nms(dets: np.ndarray, thresh: float, force_cpu: bool = False, max_keep: int = 0) -> list[int]:
    """Keep the best boxes and drop those that overlap a kept one by more than `thresh`.

    Runs on GPU cfg.GPU_ID if cfg.USE_GPU_NMS is set and this Caffe has a GPU and a `caffe.nms`, else on the
    CPU (which also drops a box at IoU == thresh; the GPU only above it).

    dets      (N, 5) x1, y1, x2, y2, score
    max_keep  stop after this many boxes; 0 for no limit
    returns   kept indices in descending score
    """
    if len(dets) == 0:
        return []
    if uses_gpu_nms() and not force_cpu:
        return gpu_nms(dets, thresh, device_id=cfg.GPU_ID, max_keep=max_keep)
    return cpu_nms(dets, thresh, max_keep)


def uses_gpu_nms() -> bool:
    """Whether `nms` runs on a GPU by default."""
    return cfg.USE_GPU_NMS and has_nms() and bool(has_gpu())
