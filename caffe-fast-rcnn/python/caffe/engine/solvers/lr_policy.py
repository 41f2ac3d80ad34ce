"""Learning rate policies: the rate as a function of the iteration.

policy      rate at iteration t (counted from 0)
fixed       base_lr
step        base_lr * gamma ^ step, with step = floor(t / stepsize)
exp         base_lr * gamma ^ t
inv         base_lr * (1 + gamma * t) ^ -power
multistep   base_lr * gamma ^ step; a solver takes its next step when t has reached stepvalue[step], at most one in
            each iteration, and goes on from the step in the solver state
poly        base_lr * (1 - t / max_iter) ^ power; past max_iter it is negative, or undefined
sigmoid     base_lr / (1 + exp(-gamma * (t - stepsize))); falls for a negative gamma (which BVLC refuses)

Source: SGDSolver::GetLearningRate in src/caffe/solvers/sgd_solver.cpp.
"""
from __future__ import annotations

import math
from collections.abc import Callable

from ...errors import SolverError
from ...proto import caffe_pb2


def _fixed(param: caffe_pb2.SolverParameter, iteration: int, step: int) -> float:
    return param.base_lr


def _step(param: caffe_pb2.SolverParameter, iteration: int, step: int) -> float:
    return param.base_lr * param.gamma ** step


def _exp(param: caffe_pb2.SolverParameter, iteration: int, step: int) -> float:
    return param.base_lr * param.gamma ** iteration


def _inv(param: caffe_pb2.SolverParameter, iteration: int, step: int) -> float:
    return param.base_lr * (1 + param.gamma * iteration) ** -param.power


def _poly(param: caffe_pb2.SolverParameter, iteration: int, step: int) -> float:
    if param.max_iter <= 0:
        raise SolverError("lr_policy 'poly' needs a max_iter above 0")
    left = 1 - iteration / param.max_iter
    if left < 0 and not param.power.is_integer():
        raise SolverError(f"lr_policy 'poly' with power {param.power:g} has no rate at iteration "
                          f"{iteration}, past max_iter {param.max_iter}")
    return param.base_lr * left ** param.power


def _sigmoid(param: caffe_pb2.SolverParameter, iteration: int, step: int) -> float:
    _check_stepsize(param)
    power = -param.gamma * (iteration - param.stepsize)
    return param.base_lr / (1 + math.exp(power)) if power < 700 else 0.0    # exp overflows from 710 on


_POLICIES: dict[str, Callable[[caffe_pb2.SolverParameter, int, int], float]] = {
    "fixed": _fixed, "step": _step, "exp": _exp, "inv": _inv, "multistep": _step, "poly": _poly,
    "sigmoid": _sigmoid,
}


def _check_stepsize(param: caffe_pb2.SolverParameter) -> None:
    if param.stepsize <= 0:
        raise SolverError(f"lr_policy '{param.lr_policy}' needs a stepsize above 0")


def current_step(param: caffe_pb2.SolverParameter, iteration: int, before: int) -> int:
    """The number of learning rate steps done at an iteration, `before` being that of the iteration before.

    Policies without steps leave it as it is.
    """
    if param.lr_policy == "multistep":
        return before + (before < len(param.stepvalue) and iteration >= param.stepvalue[before])
    if param.lr_policy != "step":
        return before
    _check_stepsize(param)
    return iteration // param.stepsize


def learning_rate(param: caffe_pb2.SolverParameter, iteration: int, step: int) -> float:
    """The learning rate at an iteration, before the parameters' lr_mult; `step` is its `current_step`.

    Raises SolverError for an unknown policy and for a setting that the policy lacks or cannot have.
    """
    policy = _POLICIES.get(param.lr_policy)
    if policy is None:
        raise SolverError(f"unknown lr_policy '{param.lr_policy}'; choose one of {', '.join(_POLICIES)}")
    if param.gamma < 0 and policy in (_step, _exp, _inv):
        raise SolverError(f"lr_policy '{param.lr_policy}' needs a gamma of at least 0, found {param.gamma:g}")
    return policy(param, iteration, step)
