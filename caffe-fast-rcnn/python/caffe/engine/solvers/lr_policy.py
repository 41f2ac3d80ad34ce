"""Learning rate policies: the learning rate as a function of the iteration.

policy      learning rate at iteration t (counted from 0)
fixed       base_lr
step        base_lr * gamma ^ step, with step = floor(t / stepsize)
exp         base_lr * gamma ^ t
inv         base_lr * (1 + gamma * t) ^ -power
multistep   base_lr * gamma ^ step; a solver takes its next step when t has reached stepvalue[step], at most one per
            iteration, and resumes from the step in the solver state
poly        base_lr * (1 - t / max_iter) ^ power; past max_iter it is negative, or undefined
sigmoid     base_lr / (1 + exp(-gamma * (t - stepsize))); falls for a negative gamma (which BVLC refuses)

Source: SGDSolver::GetLearningRate in src/caffe/solvers/sgd_solver.cpp.
"""
from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

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
    _require(param)
    left = 1 - iteration / param.max_iter
    if left < 0 and not param.power.is_integer():
        raise SolverError(f"lr_policy 'poly' with power {param.power:g} has no learning rate at iteration "
                          f"{iteration}, past max_iter {param.max_iter}")
    return param.base_lr * left ** param.power


def _sigmoid(param: caffe_pb2.SolverParameter, iteration: int, step: int) -> float:
    _require(param)
    power = -param.gamma * (iteration - param.stepsize)
    return param.base_lr / (1 + math.exp(power)) if power < 700 else 0.0    # exp overflows from 710 on


class Policy(NamedTuple):
    """A policy: its learning rate as a function of settings, iteration and step, and the settings that it requires."""

    rate: Callable[[caffe_pb2.SolverParameter, int, int], float]
    needs: str = ""                     # a setting that must be above 0, in all entries of a list
    takes_negative_gamma: bool = True


POLICIES = {
    "fixed": Policy(_fixed), "step": Policy(_step, "stepsize", False), "exp": Policy(_exp, "", False),
    "inv": Policy(_inv, "", False), "multistep": Policy(_step, "stepvalue", False), "poly": Policy(_poly, "max_iter"),
    "sigmoid": Policy(_sigmoid, "stepsize")}


def solver_problems(param: caffe_pb2.SolverParameter) -> Iterator[tuple[str, str]]:
    """Settings that would stop a solver or keep it from learning: pairs (setting, message) (ours).

    Checks base_lr, lr_policy with the settings that the policy needs, average_loss and iter_size.
    """
    if not param.base_lr > 0:
        found = f"is {param.base_lr:g}" if param.HasField("base_lr") else "is missing"
        yield "base_lr", f"base_lr {found}: it must be above 0, or nothing is learned"
    name = param.lr_policy
    if name not in POLICIES:
        near = difflib.get_close_matches(name, POLICIES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(POLICIES)}"
        yield "lr_policy", f"lr_policy is {name!r}; {hint}" if name else f"has no lr_policy; {hint}"
    elif lacking := _lacking(param):
        yield "lr_policy", lacking
    elif _falls_to_zero(param):
        yield "lr_policy", f"lr_policy '{name}' needs a gamma: without one the learning rate falls to 0"
    if _refuses_gamma(param):
        yield "gamma", f"gamma is {param.gamma:g}: lr_policy '{name}' needs one of at least 0"
    for key in ("average_loss", "iter_size"):
        if getattr(param, key) < 1:
            yield key, f"{key} is {getattr(param, key)}: it must be at least 1"


def _lacking(param: caffe_pb2.SolverParameter) -> str:
    """A message about the setting that a known policy lacks; "" if it lacks none."""
    needed = POLICIES[param.lr_policy].needs
    if not needed:
        return ""
    value = getattr(param, needed)
    values = [value] if isinstance(value, int) else value
    return "" if values and min(values) > 0 else f"lr_policy '{param.lr_policy}' needs a {needed} above 0"


def _require(param: caffe_pb2.SolverParameter) -> None:
    """Raise SolverError if the policy lacks a setting."""
    if lacking := _lacking(param):
        raise SolverError(lacking)


def _falls_to_zero(param: caffe_pb2.SolverParameter) -> bool:
    """Whether the policy multiplies the rate by gamma during the training, and gamma is missing, which stands for 0."""
    first = {"step": param.stepsize, "multistep": min(param.stepvalue, default=0), "exp": 1}.get(param.lr_policy)
    return first is not None and not param.HasField("gamma") and (not param.max_iter or first < param.max_iter)


def _refuses_gamma(param: caffe_pb2.SolverParameter) -> bool:
    return param.gamma < 0 and param.lr_policy in POLICIES and not POLICIES[param.lr_policy].takes_negative_gamma


def current_step(param: caffe_pb2.SolverParameter, iteration: int, before: int) -> int:
    """The number of learning rate steps taken by an iteration; `before` is the number at the previous iteration.

    Unchanged for policies without steps.
    """
    if param.lr_policy == "multistep":
        return before + (before < len(param.stepvalue) and iteration >= param.stepvalue[before])
    if param.lr_policy != "step":
        return before
    _require(param)
    return iteration // param.stepsize


def learning_rate(param: caffe_pb2.SolverParameter, iteration: int, step: int) -> float:
    """The learning rate at an iteration, before the parameters' lr_mult; `step` is its `current_step`.

    Raises SolverError for an unknown policy and for missing or invalid settings.
    """
    if param.lr_policy not in POLICIES:
        raise SolverError(f"unknown lr_policy '{param.lr_policy}'; choose one of {', '.join(POLICIES)}")
    if _refuses_gamma(param):
        raise SolverError(f"lr_policy '{param.lr_policy}' needs a gamma of at least 0, found {param.gamma:g}")
    try:
        return POLICIES[param.lr_policy].rate(param, iteration, step)
    except (OverflowError, ZeroDivisionError):
        raise SolverError(f"lr_policy '{param.lr_policy}' has no finite learning rate at iteration "
                          f"{iteration}") from None
