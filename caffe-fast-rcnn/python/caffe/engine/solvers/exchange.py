"""The exchange between processes that train the same net: the interface, and the version for a single process.

engine/parallel.py has the version for several processes.
"""
from __future__ import annotations

import torch

from .actions import Action


class Exchange:
    """The exchange of a single process, which has nothing to exchange.

    solver   the solver whose gradients and weights are exchanged
    count    number of processes that train the net together
    rank     rank of this process, from 0
    is_root  whether this process tests, logs and writes files

    With several processes, all of them must call each method, in the same order.
    """

    def __init__(self, solver, count: int = 1, rank: int = 0) -> None:
        self.solver, self.count, self.rank = solver, count, rank

    @property
    def is_root(self) -> bool:
        return self.rank == 0

    def begin(self) -> None:
        """Called before each iteration; the first call gives all processes the same weights."""

    def expect_last_backward(self) -> None:
        """Called before the backward pass that completes the gradients of an iteration: they may be sent during it."""

    def finish(self) -> None:
        """Called before the update: afterwards the gradients are the sums over all processes."""

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean over all processes."""
        return values

    def agree(self, action: Action) -> Action:
        """The strongest action requested in any process: stop, then snapshot, then none."""
        return action

