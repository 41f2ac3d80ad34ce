"""Checks a solver's settings before training starts, for what would stop it or keep it from learning."""
from __future__ import annotations

import os
from collections.abc import Iterator

from caffe.proto.caffe_pb2 import TEST, SolverParameter
from checks.net_file import NetFile
from fast_rcnn.schedule import default_stepsize, first_fall, late_setting
from utils import prototxt
from utils.other_caffe import solver_problems


def check_solver(path: str | os.PathLike, param: SolverParameter | None = None) -> list[str]:
    """Problems of a solver, each with file and line: learning rate and policy, average_loss, iter_size, test nets.

    param  the run's SolverParameter, if it differs from the file
    Raises CheckError for a test net that does not exist.
    """
    written = prototxt.read_solver(path)
    found = [*solver_problems(param or written), *_test_problems(path, written)]
    return [f"{path}:{prototxt.line_with(path, key)}: {message}" for key, message in found]


def _test_problems(path: str | os.PathLike, param: SolverParameter) -> Iterator[tuple[str, str]]:
    """Test nets of a solver whose images come from the training, which gives them to the net that it trains only."""
    if not param.test_interval:
        return
    names = [*param.test_net, *[param.net] * (len(param.test_iter) - len(param.test_net))]
    for name in dict.fromkeys(filter(None, names)):
        for layer in NetFile(prototxt.find_net(name, path), TEST).data_layers():
            yield "test_iter", (f"the solver would test {name}, whose layer '{layer.name}' gets images only in "
                                "training: remove test_iter and test_interval; --val_imdb NAME validates")


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
