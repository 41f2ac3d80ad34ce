"""SGDSolver: stochastic gradient descent with momentum."""
from __future__ import annotations

import torch

from .solver import Solver


class SGDSolver(Solver):
    """h = momentum * h + rate * g;  w -= h, where rate is the learning rate.

    The learning rate is part of the history: after it drops, the momentum still moves at the old learning rate.
    Source: src/caffe/solvers/sgd_solver.cpp.
    """

    def update(self, rate, weights, gradients, histories):
        (history,) = histories
        torch._foreach_mul_(history, self.param.momentum)
        torch._foreach_add_(history, gradients, alpha=rate)
        torch._foreach_sub_(weights, history)

    def regularise_and_update(self, rate, decay, weights, gradients, histories):
        """Do both in one pass over memory, if PyTorch supports it."""
        if _ONE_PASS is None or not self.param.momentum or (decay and self.param.regularization_type != "L2"):
            super().regularise_and_update(rate, decay, weights, gradients, histories)
            return
        # PyTorch: d = g + decay * w;  h = momentum * h + (1 - dampening) * d;  w -= lr * h
        _ONE_PASS(weights, gradients, histories[0], weight_decay=decay, momentum=self.param.momentum, lr=1.0,
                  dampening=1.0 - rate, nesterov=False, maximize=False, is_first_step=False)


_ONE_PASS = getattr(torch, "_fused_sgd_", None)     # what torch.optim.SGD(fused=True) calls
