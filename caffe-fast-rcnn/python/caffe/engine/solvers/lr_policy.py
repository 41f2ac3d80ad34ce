"""Learning rate policies: the rate as a function of the iteration.

policy      rate at iteration t (counted from 0)
fixed       base_lr
step        base_lr * gamma ^ floor(t / stepsize)
exp         base_lr * gamma ^ t
inv         base_lr * (1 + gamma * t) ^ -power
multistep   base_lr * gamma ^ (number of stepvalues that are <= t)
poly        base_lr * (1 - t / max_iter) ^ power; past max_iter it is negative, or undefined
sigmoid     base_lr / (1 + exp(-gamma * (t - stepsize)))

Source: SGDSolver::GetLearningRate in src/caffe/solvers/sgd_solver.cpp.
"""
from __future__ import annotations

import math
from collections.abc import Callable

from ...proto import caffe_pb2
from .param import SolverError


def _fixed(param: caffe_pb2.SolverParameter, iteration: int) -> float:
    return param.base_lr


def _step(param: caffe_pb2.SolverParameter, iteration: int) -> float:
    return param.base_lr * param.gamma ** current_step(param, iteration)


def _exp(param: caffe_pb2.SolverParameter, iteration: int) -> float:
    return param.base_lr * param.gamma ** iteration


def _inv(param: caffe_pb2.SolverParameter, iteration: int) -> float:
    return param.base_lr * (1 + param.gamma * iteration) ** -param.power


def _poly(param: caffe_pb2.SolverParameter, iteration: int) -> float:
    if param.max_iter <= 0:
        raise SolverError("lr_policy 'poly' needs a max_iter above 0")
    left = 1 - iteration / param.max_iter
    if left < 0 and not param.power.is_integer():
        raise SolverError(f"lr_policy 'poly' with power {param.power:g} has no rate at iteration "
                          f"{iteration}, past max_iter {param.max_iter}")
    return param.base_lr * left ** param.power


def _sigmoid(param: caffe_pb2.SolverParameter, iteration: int) -> float:
    power = -param.gamma * (iteration - param.stepsize)
    return param.base_lr / (1 + math.exp(power)) if power < 700 else 0.0    # exp overflows from 710 on


_POLICIES: dict[str, Callable[[caffe_pb2.SolverParameter, int], float]] = {
    "fixed": _fixed, "step": _step, "exp": _exp, "inv": _inv, "multistep": _step, "poly": _poly,
    "sigmoid": _sigmoid,
}


def current_step(param: caffe_pb2.SolverParameter, iteration: int) -> int:
    """The number of learning rate steps done at an iteration; 0 for policies without steps."""
    if param.lr_policy == "multistep":
        return sum(value <= iteration for value in param.stepvalue)
    if param.lr_policy != "step":
        return 0
    if param.stepsize <= 0:
        raise SolverError("lr_policy 'step' needs a stepsize above 0")
    return iteration // param.stepsize


def learning_rate(param: caffe_pb2.SolverParameter, iteration: int) -> float:
    """The learning rate at an iteration, before the parameters' lr_mult.

    Raises SolverError for an unknown policy and for a setting that the policy lacks.
    """
    policy = _POLICIES.get(param.lr_policy)
    if policy is None:
        raise SolverError(f"unknown lr_policy '{param.lr_policy}'; choose one of {', '.join(_POLICIES)}")
    return policy(param, iteration)
