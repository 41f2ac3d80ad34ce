"""Detection kernels: shared headers, compiled as C++ for the CPU and as CUDA C++ for GPUs.

The functions take and return float32 or float64 tensors and run on their input's device.
"""
from .nms import nms, nms_sorted
from .roi_pooling import roi_pool_backward, roi_pool_forward
from .smooth_l1 import smooth_l1

__all__ = ["nms", "nms_sorted", "roi_pool_backward", "roi_pool_forward", "smooth_l1"]
