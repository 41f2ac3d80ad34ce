"""Checks a solver's settings before training starts: what would stop it, or keep it from learning."""
from __future__ import annotations

import os

from utils import prototxt
from utils.other_caffe import solver_problems


def check_solver(path: str | os.PathLike) -> list[str]:
    """Problems of a solver, each with file and line: its learning rate and policy, average_loss and iter_size."""
    return [f"{path}:{prototxt.line_with(path, key)}: {message}"
            for key, message in solver_problems(prototxt.read_solver(path))]


def rate_warning(path: str | os.PathLike, max_iters: int) -> str:
    """A warning if all steps of a solver's learning rate lie behind the last iteration, or it is 0 before; else ''."""
    param = prototxt.read_solver(path)
    if param.lr_policy == "poly" and param.max_iter < max_iters:
        return (f"Warning: {path}:{prototxt.line_with(path, 'max_iter')}: the learning rate is 0 after max_iter = "
                f"{param.max_iter} iterations, but training ends after {max_iters}. Set max_iter to this number")
    key = {"step": "stepsize", "multistep": "stepvalue"}.get(param.lr_policy)
    if key is None:
        return ""
    first = min(param.stepvalue, default=0) if key == "stepvalue" else param.stepsize
    if first < max_iters or max_iters == 1 or param.gamma == 1:
        return ""
    return (f"Warning: {path}:{prototxt.line_with(path, key)}: the learning rate falls for the first time after "
            f"{first} iterations, but training ends after {max_iters}: it never falls. Set {key} to "
            f"{max(1, max_iters * 3 // 4)}, say, or train longer")
