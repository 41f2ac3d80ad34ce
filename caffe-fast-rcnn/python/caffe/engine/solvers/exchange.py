"""Where a solver meets the processes that train the same net: the interface, and what one process alone does.

engine/parallel.py has the exchange of several processes.
"""
from __future__ import annotations

import torch

from .actions import Action


class Exchange:
    """One process alone.

    solver   whose gradients and weights are exchanged
    count    how many processes train the net together; rank  which of them this is, from 0
    is_root  whether it is the one that tests, logs and writes files

    Where there are several, each method is called by all of them, in the same order.
    """

    def __init__(self, solver, count: int = 1, rank: int = 0) -> None:
        self.solver, self.count, self.rank = solver, count, rank

    @property
    def is_root(self) -> bool:
        return self.rank == 0

    def begin(self) -> None:
        """Called before each iteration: in the first one all get the same weights."""

    def expect_last_backward(self) -> None:
        """Called before the backward pass that completes the gradients of an iteration: they may be sent during it."""

    def finish(self) -> None:
        """Called before the update: afterwards the gradients are the sums over all processes."""

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean over all processes."""
        return values

    def agree(self, action: Action) -> Action:
        """The weightiest action that one of the processes was asked for: stop, then snapshot, then none."""
        return action

