"""Indices given as values of a blob, which are checked where that costs no waiting for a GPU."""
from __future__ import annotations

import torch

from ..layer import Layer


def read_indices(layer: Layer, values: torch.Tensor, limit: int, name: str = "indices") -> torch.Tensor:
    """The values as int64. Raises LayerError on the CPU if any is outside 0..limit - 1."""
    indices = values.long()
    if indices.device.type == "cpu" and indices.numel():
        low, high = (int(value) for value in indices.aminmax())
        if low < 0 or high >= limit:
            layer.fail(f"{name} must be in 0..{limit - 1}, found {low if low < 0 else high}")
    return indices
