"""AdaDeltaSolver: the ratio of past steps to past gradients sets each weight's step."""
from __future__ import annotations

import torch

from .solver import Solver


class AdaDeltaSolver(Solver):
    """With m = momentum:

        G = m * G + (1 - m) * g^2
        u = g * sqrt((U + delta) / (G + delta))
        U = m * U + (1 - m) * u^2
        w -= rate * u

    The history holds G of all parameters, then U of all; rate is the learning rate.
    Source: src/caffe/solvers/adadelta_solver.cpp; Zeiler 2012.
    """

    histories = 2
    remembers_decay = True

    def update(self, rate, weights, gradients, histories):
        squares, steps = histories
        momentum, delta = self.param.momentum, self.param.delta
        torch._foreach_mul_(squares, momentum)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - momentum)
        update = torch._foreach_add(steps, delta)
        torch._foreach_div_(update, torch._foreach_add(squares, delta))
        torch._foreach_sqrt_(update)
        torch._foreach_mul_(update, gradients)
        torch._foreach_mul_(steps, momentum)
        torch._foreach_addcmul_(steps, update, update, 1 - momentum)
        torch._foreach_add_(weights, update, alpha=-rate)
