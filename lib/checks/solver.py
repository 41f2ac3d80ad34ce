"""Checks a solver's settings before training starts, for what would stop it or keep it from learning."""
from __future__ import annotations

import os

from caffe.proto.caffe_pb2 import SolverParameter
from fast_rcnn.schedule import default_stepsize, first_fall, late_setting
from utils import prototxt
from utils.other_caffe import solver_problems


def check_solver(path: str | os.PathLike, param: SolverParameter | None = None) -> list[str]:
    """Problems of a solver, each with file and line: its learning rate and policy, average_loss and iter_size.

    param  the run's SolverParameter, if it differs from the file
    """
    return [f"{path}:{prototxt.line_with(path, key)}: {message}"
            for key, message in solver_problems(param or prototxt.read_solver(path))]


def rate_warning(path: str | os.PathLike, max_iters: int) -> str:
    """A warning if a solver's learning rate never falls before the last iteration, or reaches 0 earlier; else ''."""
    reason = late_reason(path, max_iters)
    if not reason:
        return ""
    key = late_setting(prototxt.read_solver(path), max_iters)
    advice = "Set max_iter to this number" if key == "max_iter" else (
        f"Set {key} to {default_stepsize(max_iters)}, say, or train longer")
    return f"Warning: {reason}. {advice}"


def late_reason(path: str | os.PathLike, max_iters: int) -> str:
    """Why a solver's learning rate never falls before the last iteration, or reaches 0 earlier; '' if neither holds."""
    param = prototxt.read_solver(path)
    key = late_setting(param, max_iters)
    if not key:
        return ""
    where = f"{path}:{prototxt.line_with(path, key)}"
    if key == "max_iter":
        return (f"{where}: the learning rate is 0 after max_iter = {param.max_iter} iterations, but training ends "
                f"after {max_iters}")
    return (f"{where}: the learning rate falls for the first time after {first_fall(param)} iterations, but training "
            f"ends after {max_iters}: it never falls")
