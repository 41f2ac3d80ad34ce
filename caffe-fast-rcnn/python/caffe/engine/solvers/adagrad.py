"""AdaGradSolver: the sum of squared gradients scales each weight's learning rate."""
from __future__ import annotations

import torch

from .solver import Solver


class AdaGradSolver(Solver):
    """h += g^2;  w -= rate * g / (sqrt(h) + delta), where rate is the learning rate.

    Raises SolverError if a momentum is set, which is not used.
    Source: src/caffe/solvers/adagrad_solver.cpp; Duchi, Hazan and Singer 2011.
    """

    uses_momentum = False
    remembers_decay = True

    def update(self, rate, weights, gradients, histories):
        (history,) = histories
        torch._foreach_addcmul_(history, gradients, gradients)
        scale = torch._foreach_sqrt(history)
        torch._foreach_add_(scale, self.param.delta)
        torch._foreach_addcdiv_(weights, gradients, scale, -rate)
