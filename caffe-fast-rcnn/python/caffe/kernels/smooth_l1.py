"""The smooth L1 loss of bounding-box regression (Girshick, "Fast R-CNN", 2015, equation 3), element by element."""
from __future__ import annotations

import torch

from . import _cpu, cuda


def smooth_l1(prediction: torch.Tensor, target: torch.Tensor, inside: torch.Tensor | None = None,
              outside: torch.Tensor | None = None, *, sigma: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of each element, and its derivative by the prediction (the derivative by the target is the negative).

    d = inside * (prediction - target)
    loss = outside * (sigma^2 d^2 / 2  if |d| < 1 / sigma^2,  else |d| - 1 / (2 sigma^2))

    All tensors have the same shape and type, float32 or float64; omitted weights are 1. Raises ValueError for different
    numbers of elements, TypeError for other types.
    """
    tensors = [prediction, target, inside, outside]
    for tensor in tensors[1:]:
        if tensor is not None and tensor.numel() != prediction.numel():
            raise ValueError(f"smooth_l1: {tuple(tensor.shape)} does not fit the prediction {tuple(prediction.shape)}")
    if prediction.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"smooth_l1 computes in float32 or float64, got {prediction.dtype}")
    flat = [None if tensor is None else tensor.detach().reshape(-1).contiguous() for tensor in tensors]
    loss = torch.empty(prediction.shape, dtype=prediction.dtype, device=prediction.device)
    slope = torch.empty_like(loss)
    if loss.numel() == 0:
        return loss, slope
    if cuda.holds(prediction):
        name = str(prediction.dtype).removeprefix("torch.")
        cuda.launch_each("smooth_l1", f"smooth_l1_{name}", (*flat, loss, slope, loss.numel(), float(sigma)),
                         loss.numel(), prediction.device)
    else:
        arrays = [None if tensor is None else tensor.numpy() for tensor in flat]
        _cpu.smooth_l1(sigma, loss.view(-1).numpy(), slope.view(-1).numpy(), *arrays)
    return loss, slope
