"""`debug_info: true`: logs the magnitudes of a net's values and gradients, layer by layer.

The numbers are means of absolute values. Source: Net::ForwardDebugInfo, BackwardDebugInfo in src/caffe/net.cpp.
"""
from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import torch

from ..blob import Blob
from ..layer import Layer
from .backward_plan import LayerPlan

log = logging.getLogger("caffe")


def show_forward(layer: Layer, tops: Mapping[str, Blob]) -> None:
    """Log the magnitudes of a layer's tops and parameters, after its forward pass."""
    for name, blob in tops.items():
        _show("Forward", layer, f"top blob {name} data", blob.tensor)
    for index, blob in enumerate(layer.blobs):
        spec = layer.param.param[index].name if index < len(layer.param.param) else ""
        _show("Forward", layer, f"param blob {spec or index} data", blob.tensor)


def show_backward(layer: Layer, plan: LayerPlan, bottoms: Sequence[tuple[str, Blob]]) -> None:
    """Log the magnitudes of the gradients that a layer's backward pass wrote, for its bottoms and parameters."""
    for (name, blob), wanted in zip(bottoms, plan.propagate_down, strict=True):
        if wanted:
            _show("Backward", layer, f"bottom blob {name} diff", gradient(blob))
    for index, (blob, wanted) in enumerate(zip(layer.blobs, layer.param_propagate_down, strict=True)):
        if wanted:
            _show("Backward", layer, f"param blob {index} diff", gradient(blob))


def show_norms(parameters: Sequence[Blob]) -> None:
    """Log the L1 and the L2 norm over all parameters, of their values and of their gradients."""
    values, gradients = [blob.tensor for blob in parameters], [gradient(blob) for blob in parameters]
    log.info("    [Backward] All net params (data, diff): L1 norm = (%.6g, %.6g); L2 norm = (%.6g, %.6g)",
             _norm(values, 1), _norm(gradients, 1), _norm(values, 2), _norm(gradients, 2))


def gradient(blob: Blob) -> torch.Tensor:
    """The gradient, or an empty tensor if none was written, to avoid allocating one."""
    return blob.grad if blob.has_grad else torch.zeros(0)


def _show(phase: str, layer: Layer, what: str, values: torch.Tensor) -> None:
    mean = values.abs().mean().item() if values.numel() else 0.0
    log.info("    [%s] Layer %s, %s: %.6g", phase, layer.name, what, mean)


def _norm(tensors: Sequence[torch.Tensor], order: int) -> float:
    return sum(tensor.abs().pow(order).sum().item() for tensor in tensors) ** (1 / order)
