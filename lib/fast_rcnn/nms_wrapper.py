"""Non-maximum suppression on the available device."""
from __future__ import annotations

import numpy as np

from fast_rcnn.config import Config, cfg
from nms.cpu_nms import cpu_nms
from nms.gpu_nms import gpu_nms
from utils.other_caffe import has_gpu, has_nms


def nms(dets: np.ndarray, thresh: float, force_cpu: bool = False, max_keep: int = 0) -> list[int]:
    """`nms_on` the device set in cfg, see `nms_gpu`."""
    return nms_on(None if force_cpu else nms_gpu(cfg), dets, thresh, max_keep)


def nms_on(gpu: int | None, dets: np.ndarray, thresh: float, max_keep: int = 0) -> list[int]:
    """Keep the best boxes and drop those that overlap a kept one by more than `thresh`.

    gpu       index of the GPU; None for the CPU, which also drops boxes at IoU == thresh (the GPU only above it)
    dets      (N, 5) x1, y1, x2, y2, score
    max_keep  stop after this many boxes; 0 for no limit
    returns   kept indices in descending score
    """
    if len(dets) == 0:
        return []
    if gpu is not None:
        return gpu_nms(dets, thresh, device_id=gpu, max_keep=max_keep)
    return cpu_nms(dets, thresh, max_keep)


def nms_gpu(settings: Config) -> int | None:
    """GPU_ID if USE_GPU_NMS is set and this Caffe has a GPU and a `caffe.nms`, else None."""
    return settings.GPU_ID if settings.USE_GPU_NMS and has_nms() and has_gpu() else None
