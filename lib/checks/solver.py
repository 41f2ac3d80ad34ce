"""Checks of a solver's settings before training starts: what would stop it, or let it learn nothing."""
from __future__ import annotations

import difflib
import os
from collections.abc import Iterator

from utils import prototxt
from utils.prototxt import line_with

_POLICIES = ("fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid")
# What a policy needs beside base_lr, and where it is listed; all of them above 0
_NEEDS = {"step": "stepsize", "sigmoid": "stepsize", "poly": "max_iter", "multistep": "stepvalue"}


def check_solver(path: str | os.PathLike) -> list[str]:
    """Problems of a solver, each with file and line: its learning rate and policy, average_loss and iter_size."""
    return [f"{path}:{line_with(path, key)}: {message}" for key, message in _problems(prototxt.read_solver(path))]


def _problems(param) -> Iterator[tuple[str, str]]:
    """The setting and what is wrong with it."""
    if not param.base_lr > 0:
        found = f"is {param.base_lr:g}" if param.HasField("base_lr") else "is missing"
        yield "base_lr", f"base_lr {found}: it must be above 0, or nothing is learned"
    policy = param.lr_policy
    if policy not in _POLICIES:
        near = difflib.get_close_matches(policy, _POLICIES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(_POLICIES)}"
        yield "lr_policy", f"lr_policy is {policy!r}; {hint}" if policy else f"has no lr_policy; {hint}"
    needed = _NEEDS.get(policy)
    if needed and not _is_positive(getattr(param, needed)):
        yield "lr_policy", f"lr_policy '{policy}' needs a {needed} above 0"
    if policy in ("step", "multistep", "exp", "inv") and param.gamma < 0:
        yield "gamma", f"gamma is {param.gamma:g}: lr_policy '{policy}' needs one of at least 0"
    for key in ("average_loss", "iter_size"):
        if getattr(param, key) < 1:
            yield key, f"{key} is {getattr(param, key)}: it must be at least 1"


def _is_positive(value) -> bool:
    """Of a number, or of all of a list that is not empty."""
    values = [value] if isinstance(value, int) else list(value)
    return bool(values) and min(values) > 0
