"""NesterovSolver: Nesterov's accelerated gradient."""
from __future__ import annotations

import torch

from .solver import Solver


class NesterovSolver(Solver):
    """h' = momentum * h + rate * g;  w -= (1 + momentum) * h' - momentum * h, where rate is the learning rate.

    Source: src/caffe/solvers/nesterov_solver.cpp; Nesterov 1983.
    """

    def update(self, rate, weights, gradients, histories):
        (history,) = histories
        momentum = self.param.momentum
        step = torch._foreach_mul(history, -momentum)
        torch._foreach_mul_(history, momentum)
        torch._foreach_add_(history, gradients, alpha=rate)
        torch._foreach_add_(step, history, alpha=1 + momentum)
        torch._foreach_sub_(weights, step)
