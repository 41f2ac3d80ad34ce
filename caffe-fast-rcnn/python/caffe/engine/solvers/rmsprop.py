"""RMSPropSolver: a moving average of squared gradients scales each weight's learning rate."""
from __future__ import annotations

import torch

from ...errors import SolverError
from .solver import Solver


class RMSPropSolver(Solver):
    """h = rms_decay * h + (1 - rms_decay) * g^2;  w -= rate * g / (sqrt(h) + delta), where rate is the learning rate.

    Raises SolverError if a momentum is set, which is not used, and for an rms_decay outside [0, 1).
    Source: src/caffe/solvers/rmsprop_solver.cpp; Tieleman and Hinton 2012.
    """

    uses_momentum = False
    remembers_decay = True

    def check(self) -> None:
        super().check()
        if not 0 <= self.param.rms_decay < 1:
            raise SolverError(f"rms_decay must be at least 0 and below 1, found {self.param.rms_decay:g}")

    def update(self, rate, weights, gradients, histories):
        (history,), decay = histories, self.param.rms_decay
        torch._foreach_mul_(history, decay)
        torch._foreach_addcmul_(history, gradients, gradients, 1 - decay)
        scale = torch._foreach_sqrt(history)
        torch._foreach_add_(scale, self.param.delta)
        torch._foreach_addcdiv_(weights, gradients, scale, -rate)
