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
    max_keep   stop after this many boxes; 0 for no limit
    device     such as "cuda:0"; by default the device of dets

    Returns the kept indices, int64, by descending score, as an array or tensor like dets. Of equal scores, the lower
    index comes first. A box with a NaN score is never kept. Boxes that do not intersect have IoU 0, including boxes
    without area. Raises ValueError for another shape or a NaN threshold.
    """
    if dets.ndim != 2 or dets.shape[1] < 5:
        raise ValueError(f"nms: dets must have the shape (N, 5), got {tuple(dets.shape)}")
    if isinstance(dets, np.ndarray) and device in (None, "cpu"):
        return _nms_of_array(dets, threshold, max_keep)
    tensor = torch.as_tensor(dets).detach().to(device=device, dtype=torch.float32)
    scores = tensor[:, 4]
    order = torch.argsort(-scores, stable=True)
    positions = nms_sorted(tensor[order, :4], threshold, max_keep)
    is_kept = positions < (~scores.isnan()).sum()       # NaNs come last
    order = order[positions[:int(is_kept.sum())]]       # the only place that waits for a GPU
    return order.cpu().numpy() if isinstance(dets, np.ndarray) else order.to(dets.device)


def _nms_of_array(dets: np.ndarray, threshold: float, max_keep: int) -> np.ndarray:
    """`nms` on the CPU without tensors, whose overhead dominates for few boxes."""
    limit = _limit(threshold)
    dets = dets.astype(np.float32, copy=False)
    scores = dets[:, 4]
    order = np.argsort(-scores, kind="stable")[:np.count_nonzero(~np.isnan(scores))]    # NaNs come last
    positions = np.empty(min(max_keep, len(order)) if max_keep > 0 else len(order), np.int32)
    return order[positions[:_sweep_arrays(np.ascontiguousarray(dets[order, :4]), limit, positions)]]


def _limit(threshold: float) -> float:
    """The minimum IoU at which a box is dropped: IoU > threshold in float32 is IoU >= the next larger float32.

    Raises ValueError for NaN.
    """
    if math.isnan(threshold):
        raise ValueError("nms: threshold is NaN")
    return float(np.nextafter(np.float32(threshold), np.float32(np.inf)))


def nms_sorted(boxes: torch.Tensor, threshold: float, max_keep: int = 0) -> torch.Tensor:
    """As `nms`, for boxes (N, 4) sorted best first, without waiting for a GPU to learn how many are kept.

    Returns max_keep (N if 0) positions, int64: those of the kept boxes in ascending order, then N for unused entries.
    Padding boxes may follow at the end: they suppress none before them.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"nms_sorted: boxes must have the shape (N, 4), got {tuple(boxes.shape)}")
    limit = _limit(threshold)
    boxes = boxes.detach().to(torch.float32).contiguous()
    max_keep = min(max_keep, len(boxes)) if max_keep > 0 else len(boxes)
    positions = torch.full((max_keep,), len(boxes), dtype=torch.int32, device=boxes.device)
    if len(boxes):
        (_sweep_cuda if cuda.holds(boxes) else _sweep_cpu)(boxes, limit, positions)
    return positions.long()


def _sweep_cpu(boxes: torch.Tensor, limit: float, positions: torch.Tensor) -> None:
    _sweep_arrays(boxes.numpy(), limit, positions.numpy())


def _sweep_arrays(boxes: np.ndarray, limit: float, positions: np.ndarray) -> int:
    return _cpu.nms(boxes, limit, positions, np.empty(5 * len(positions), np.float32))


def _sweep_cuda(boxes: torch.Tensor, limit: float, positions: torch.Tensor) -> None:
    count, device = len(boxes), boxes.device
    words = (count + _BITS - 1) // _BITS
    mask = torch.empty((count, words), dtype=torch.int64, device=device)
    removed = torch.zeros(words, dtype=torch.int64, device=device)
    cuda.launch("nms", "nms_mask", (boxes, mask, count, limit), device, grid=(words, words), block=_BITS)
    cuda.launch("nms", "nms_sweep", (mask, removed, positions, count, len(positions)), device, grid=(1, 1), block=512)
