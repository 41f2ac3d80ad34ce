"""SGDSolver: stochastic gradient descent with momentum."""
from __future__ import annotations

import torch

from .solver import Solver


class SGDSolver(Solver):
    """h = momentum * h + rate * g;  w -= h.

    The rate is inside the momentum: after a step of the learning rate the history still moves at the old one.
    Source: src/caffe/solvers/sgd_solver.cpp.
    """

    def update(self, rate, weights, gradients, histories):
        (history,) = histories
        torch._foreach_mul_(history, self.param.momentum)
        torch._foreach_add_(history, gradients, alpha=rate)
        torch._foreach_sub_(weights, history)
