"""Moves the normalisation of regression targets into, and out of, the weights of bbox_pred."""
from __future__ import annotations

import numpy as np


def unnormalize(weights: np.ndarray, bias: np.ndarray, means: np.ndarray,
                stds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights that predict plain targets from weights that predict normalised ones: W * std, b * std + mean.

    weights  (4K, ...) one row for each target of each class; bias, means, stds (4K,)
    """
    scale = np.asarray(stds, np.float64).reshape(-1, *[1] * (weights.ndim - 1))
    return (weights * scale).astype(weights.dtype), (bias * stds + means).astype(bias.dtype)


def normalize(weights: np.ndarray, bias: np.ndarray, means: np.ndarray,
              stds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of `unnormalize`, to train on from published weights; a std of 0 counts as 1."""
    divisor = np.where(np.asarray(stds) > 0, stds, 1.0)
    scale = divisor.reshape(-1, *[1] * (weights.ndim - 1))
    return (weights / scale).astype(weights.dtype), ((bias - means) / divisor).astype(bias.dtype)
