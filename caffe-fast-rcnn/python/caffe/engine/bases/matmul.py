"""Matrix products in the current precision, with PyTorch's fastest method."""
from __future__ import annotations

import torch

_WORTH_ASKING = 1 << 22      # multiply-adds; for smaller products the overhead exceeds the gain


def linear(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """rows weight^T + bias: (M, K), (N, K) and (N) give (M, N), all of the same type.

    For float32 products on the CPU, PyTorch uses MKL, which leaves half of the vector unit idle on non-Intel
    processors; oneDNN, which PyTorch uses for convolutions, does not. This calls the entry point that torch.compile
    uses, which autograd does not support.
    """
    if rows.device.type == "cpu" and rows.dtype == torch.float32 and _ONEDNN is not None \
            and not weight.requires_grad and rows.shape[0] * weight.numel() >= _WORTH_ASKING:
        return _ONEDNN(rows, weight, bias, "none", [], "")
    return torch.nn.functional.linear(rows, weight, bias)


def _find_onednn():
    try:
        return torch.ops.mkldnn._linear_pointwise if torch.backends.mkldnn.is_available() else None
    except AttributeError:      # PyTorch builds or versions without it
        return None


_ONEDNN = _find_onednn()
