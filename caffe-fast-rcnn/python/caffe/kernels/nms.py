"""Greedy non-maximum suppression of boxes with scores."""
from __future__ import annotations

import math
from typing import overload

import numpy as np
import torch

from . import _cpu, cuda

_BITS = 64   # boxes in one word of the CUDA kernel's mask


@overload
def nms(dets: np.ndarray, threshold: float, max_keep: int = 0, device: str | None = None) -> np.ndarray: ...
@overload
def nms(dets: torch.Tensor, threshold: float, max_keep: int = 0, device: str | None = None) -> torch.Tensor: ...


def nms(dets, threshold, max_keep=0, device=None):
    """Keep the best boxes and drop those that overlap a kept one with an IoU of more than `threshold`.

    dets       (N, 5) array or tensor of x1, y1, x2, y2, score; corners are inclusive pixels; computed in float32
    threshold  rounded to float32
    max_keep   stop after so many boxes; 0 for no limit
    device     where to compute, such as "cuda:0"; by default where dets lies

    Returns the kept indices, int64, in descending score, as an array or tensor like dets. Of equal scores the lower
    index comes first. A box whose score is NaN is never kept. Boxes that do not meet have IoU 0, also those without an
    area. Raises ValueError for another shape or a threshold that is NaN.
    """
    if dets.ndim != 2 or dets.shape[1] < 5:
        raise ValueError(f"nms: dets must have the shape (N, 5), got {tuple(dets.shape)}")
    if math.isnan(threshold):
        raise ValueError("nms: threshold is NaN")
    # IoU > threshold in float32 is the same as IoU >= the next larger float32: the rule of the kernels
    limit = float(np.nextafter(np.float32(threshold), np.float32(np.inf)))
    tensor = torch.as_tensor(dets).detach().to(device=device, dtype=torch.float32)
    scores = tensor[:, 4]
    order = torch.argsort(-scores, stable=True)[:int((~scores.isnan()).sum())]   # NaN is sorted last
    boxes = tensor[order, :4].contiguous()
    max_keep = min(max_keep, len(boxes)) if max_keep > 0 else len(boxes)
    if len(boxes):
        sweep = _sweep_cuda if cuda.holds(boxes) else _sweep_cpu
        order = order[sweep(boxes, limit, max_keep)]
    return order.cpu().numpy() if isinstance(dets, np.ndarray) else order.to(dets.device)


def _sweep_cpu(boxes: torch.Tensor, limit: float, max_keep: int) -> torch.Tensor:
    positions = torch.empty(max_keep, dtype=torch.int32)
    scratch = np.empty(5 * max_keep, np.float32)
    return positions[:_cpu.nms(boxes.numpy(), limit, positions.numpy(), scratch)]


def _sweep_cuda(boxes: torch.Tensor, limit: float, max_keep: int) -> torch.Tensor:
    count, device = len(boxes), boxes.device
    words = (count + _BITS - 1) // _BITS
    mask = torch.empty((count, words), dtype=torch.int64, device=device)
    removed = torch.zeros(words, dtype=torch.int64, device=device)
    positions = torch.empty(max_keep, dtype=torch.int32, device=device)
    kept = torch.zeros(1, dtype=torch.int32, device=device)
    cuda.launch("nms", "nms_mask", (boxes, mask, count, limit), device, grid=(words, words), block=_BITS)
    cuda.launch("nms", "nms_sweep", (mask, removed, positions, kept, count, max_keep), device, grid=(1, 1), block=512)
    return positions[:int(kept)]
