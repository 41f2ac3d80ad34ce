"""AdamSolver: moving averages of the gradient and of its square."""
from __future__ import annotations

import torch

from ...errors import SolverError
from .solver import Solver
from .updates import in_range


class AdamSolver(Solver):
    """At iteration t, counted from 1, with b1 = momentum and b2 = momentum2:

        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g^2
        w -= rate * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + delta)

    rate is the learning rate. Unlike in PyTorch, delta is inside the bias correction. The history holds m of all
    parameters, then v of all.

    Raises SolverError for a momentum or momentum2 outside [0, 1).
    Source: src/caffe/solvers/adam_solver.cpp; Kingma and Ba 2015.
    """

    histories = 2
    remembers_decay = True

    def check(self) -> None:
        super().check()
        for name in ("momentum", "momentum2"):
            if not 0 <= getattr(self.param, name) < 1:
                raise SolverError(f"Adam needs a {name} of at least 0 and below 1, found "
                                  f"{getattr(self.param, name):g}")

    def update(self, rate, weights, gradients, histories):
        means, squares = histories
        beta1, beta2, count = self.param.momentum, self.param.momentum2, self.iter + 1
        corrected_rate = in_range(rate * ((1 - beta2 ** count) ** 0.5 / (1 - beta1 ** count)), "Adam's corrected rate")
        torch._foreach_mul_(means, beta1)
        torch._foreach_add_(means, gradients, alpha=1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        scale = torch._foreach_sqrt(squares)
        torch._foreach_add_(scale, self.param.delta)
        torch._foreach_addcdiv_(weights, means, scale, -corrected_rate)
