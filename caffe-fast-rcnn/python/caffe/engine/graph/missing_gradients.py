"""Gradients that a net is asked for and that none of its layers computes."""
from __future__ import annotations

from collections.abc import Iterable

from .graph import Graph


def missing_gradients(graph: Graph, names: Iterable[str]) -> list[str]:
    """Of these blobs, those whose gradient no layer computes, although force_backward would make one compute it.

    A blob that no layer reads has the gradient that the user writes, and labels never have one: neither is returned.
    """
    return [name for name in names if _is_missing(graph, graph.index_of[name])]


def _is_missing(graph: Graph, blob: int) -> bool:
    can_be_forced = False
    for layer, bottoms, plan in zip(graph.layers, graph.bottoms, graph.plans, strict=True):
        for position, bottom in enumerate(bottoms):
            if bottom != blob:
                continue
            if plan.needs_backward and plan.propagate_down[position]:
                return False
            can_be_forced |= position not in layer.not_forced and position not in layer.no_backward_to
    return can_be_forced
