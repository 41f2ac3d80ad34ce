"""Matrix products in the precision that is set, by the fastest way that PyTorch has for them."""
from __future__ import annotations

import torch

_WORTH_ASKING = 1 << 22      # multiply-adds; in smaller products the call itself costs more than it saves


def linear(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """rows weight^T + bias: (M, K), (N, K) and (N) give (M, N), all of one type.

    On the CPU PyTorch hands float32 products to MKL, which leaves half of the vector unit idle on processors of other
    makers; oneDNN, which does the convolutions, does not. Its entry is the one that torch.compile uses; autograd does
    not know it.
    """
    if rows.device.type == "cpu" and rows.dtype == torch.float32 and _ONEDNN is not None \
            and not weight.requires_grad and rows.shape[0] * weight.numel() >= _WORTH_ASKING:
        return _ONEDNN(rows, weight, bias, "none", [], "")
    return torch.nn.functional.linear(rows, weight, bias)


def _find_onednn():
    try:
        return torch.ops.mkldnn._linear_pointwise if torch.backends.mkldnn.is_available() else None
    except AttributeError:      # a build, or a version, without it
        return None


_ONEDNN = _find_onednn()
