"""Processes gradients before the update, in Caffe's order: clip, normalise, regularise.

The learnable parameters are grouped by equal multipliers, so that each step is one fused operation on a list of
tensors. Frozen parameters (lr_mult 0) are in no group and cost nothing, except where the algorithm's history
accumulates their weight decay, as in Caffe.
"""
from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import torch

from ...errors import SolverError
from .. import device


@dataclass
class Group:
    """Learnable parameters (positions in net.learnable_params) with the same multipliers."""

    lr_mult: float
    decay_mult: float
    indices: list[int]


def make_groups(lr_mults: list[float], decay_mults: list[float], frozen: bool = False) -> list[Group]:
    """Group the parameters by (lr_mult, decay_mult); frozen ones only if requested, and if they have a decay_mult."""
    members: dict[tuple[float, float], list[int]] = defaultdict(list)
    for index, key in enumerate(zip(lr_mults, decay_mults, strict=True)):
        members[key].append(index)
    return [Group(*key, indices) for key, indices in members.items() if key[0] != 0 or (frozen and key[1] != 0)]


def in_range(value: float, what: str) -> float:
    """The value, if the engine's float type can represent it. Raises SolverError that names it as `what`."""
    if not abs(value) <= torch.finfo(device.float_type()).max:
        raise SolverError(f"{what} is {value:g}, which is no finite {device.float_type()}")
    return value


def clip(gradients: list[torch.Tensor], limit: float) -> None:
    """Scale all gradients down if their joint L2 norm exceeds `limit`.

    The norm stays on the device.
    """
    if not gradients:
        return
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    torch._foreach_mul_(gradients, (limit / norm).nan_to_num(nan=1.0).clamp(max=1.0))     # 0 / 0: all are 0


def normalise(gradients: list[torch.Tensor], iter_size: int) -> None:
    """Divide the gradients, sums over `iter_size` batches, to get means."""
    if iter_size > 1:
        torch._foreach_mul_(gradients, 1.0 / iter_size)


def regularise(gradients: list[torch.Tensor], weights: list[torch.Tensor], decay: float, kind: str) -> None:
    """Add the gradient of the weight decay: decay * w for L2, decay * sign(w) for L1.

    Raises SolverError for other types.
    """
    if not decay:
        return
    if kind == "L2":
        torch._foreach_add_(gradients, weights, alpha=decay)
    elif kind == "L1":
        torch._foreach_add_(gradients, torch._foreach_sign(weights), alpha=decay)
    else:
        raise SolverError(f"unknown regularization_type '{kind}'; choose L1 or L2")
