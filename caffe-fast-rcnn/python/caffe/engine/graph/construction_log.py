"""The lines that Caffe logs while it builds a net, for readers and for scripts that search for them.

They use the logger `caffe.net`, which can be silenced separately. Source: Net::Init in src/caffe/net.cpp.
"""
from __future__ import annotations

import logging
from collections.abc import Sequence

from ...logs import is_shown
from ..blob import Blob
from ..layer import Layer
from .graph import Graph

log = logging.getLogger("caffe.net")
_BYTES = 4      # of a value


class ConstructionLog:
    """Logs a net that is being built, layer by layer; does nothing if the lines are not shown."""

    def __init__(self) -> None:
        self._is_shown = is_shown(log, logging.INFO)
        self._values = 0        # of all tops so far

    def connected(self, layer: Layer, bottoms: Sequence[str], tops: Sequence[str]) -> None:
        """Log a new layer with the names of its bottoms and tops."""
        if not self._is_shown:
            return
        log.info("Creating layer %s", layer.name)
        log.info("Creating Layer %s", layer.name)
        for name in bottoms:
            log.info("%s <- %s", layer.name, name)
        for position, name in enumerate(tops):
            in_place = position < len(bottoms) and bottoms[position] == name
            log.info("%s -> %s%s", layer.name, name, " (in-place)" if in_place else "")
        log.info("Setting up %s", layer.name)

    def set_up(self, layer: Layer, tops: Sequence[Blob]) -> None:
        """Log the shapes and loss weights of a layer's tops, once they are known."""
        if not self._is_shown:
            return
        for blob, weight in zip(tops, layer.loss_weights, strict=True):
            log.info("Top shape: %s(%d)", "".join(f"{dim} " for dim in blob.shape), blob.count)
            if weight:
                log.info("    with loss weight %g", weight)
            self._values += blob.count
        log.info("Memory required for data: %d", self._values * _BYTES)

    def planned(self, graph: Graph) -> None:
        """Log which layers run backward."""
        if not self._is_shown:
            return
        for layer, plan in zip(reversed(graph.layers), reversed(graph.plans), strict=True):
            log.info("%s needs backward computation." if plan.needs_backward else
                     "%s does not need backward computation.", layer.name)

    def done(self, graph: Graph) -> None:
        """Log the outputs of the complete net."""
        if not self._is_shown:
            return
        for name in graph.names_of(graph.outputs):
            log.info("This network produces output %s", name)
        log.info("Network initialization done.")
