"""Finds requested gradients that no layer of a net computes."""
from __future__ import annotations

from collections.abc import Iterable

from .graph import Graph


def missing_gradients(graph: Graph, names: Iterable[str]) -> list[str]:
    """The blobs among `names` whose gradient no layer computes, but would with force_backward.

    Blobs that no layer reads, whose gradient the user writes, and labels, which have none, are not returned.
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
