"""Checks a solver's settings before training starts: what would stop it, or keep it from learning."""
from __future__ import annotations

import os

from utils import prototxt
from utils.other_caffe import solver_problems


def check_solver(path: str | os.PathLike) -> list[str]:
    """Problems of a solver, each with file and line: its learning rate and policy, average_loss and iter_size."""
    return [f"{path}:{prototxt.line_with(path, key)}: {message}"
            for key, message in solver_problems(prototxt.read_solver(path))]
