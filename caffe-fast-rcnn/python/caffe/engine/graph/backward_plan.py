"""Decides which layers run backward, once, when a net is built."""
from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class LayerPlan:
    """How one layer takes part in the backward pass."""

    needs_backward: bool = False
    propagate_down: list[bool] = field(default_factory=list)    # one for each bottom


def prune(plans: list[LayerPlan], bottoms: list[list[str]], tops: list[list[str]],
          loss_weights: list[list[float]]) -> None:
    """Remove backward work that no loss needs from the plans.

    Walks from the last layer to the first. A layer none of whose tops leads to a loss, or all of whose tops are
    cut off by `propagate_down: false`, does no backward work; nor do layers that feed only such layers. This makes
    a readonly head free of backward cost. Lists are parallel to the layers. Source: the second half of Net::Init.
    """
    under_loss: set[str] = set()
    cut_off: set[str] = set()
    for plan, bottom, top, weights in zip(reversed(plans), reversed(bottoms), reversed(tops),
                                          reversed(loss_weights), strict=True):
        leads_to_loss = any(weights) or any(blob in under_loss for blob in top)
        if plan.needs_backward and all(blob in cut_off for blob in top):
            plan.needs_backward = False
            plan.propagate_down = [False] * len(bottom)
        if leads_to_loss:
            under_loss.update(bottom)
        else:
            plan.needs_backward = False
            plan.propagate_down = [False] * len(bottom)
        cut_off.update(blob for blob, wanted in zip(bottom, plan.propagate_down, strict=True) if not wanted)
