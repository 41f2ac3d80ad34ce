"""Iterations and learning rates given on the command line, which replace those of a solver file.

A run trains with a modified copy of the solver; the file itself is never changed.
"""
from __future__ import annotations

import os
from pathlib import Path

from caffe.proto.caffe_pb2 import SolverParameter
from fast_rcnn.config import MOST_ITERATIONS, Config, ConfigError
from utils import prototxt
from utils.files import write_text

# The setting that determines when each policy lowers the learning rate
_FALLS = {"step": "stepsize", "multistep": "stepvalue", "poly": "max_iter"}


def late_setting(param: SolverParameter, max_iters: int) -> str:
    """The setting because of which the learning rate never falls before the end, or is 0 before it; '' if none."""
    key = _FALLS.get(param.lr_policy, "")
    if key == "max_iter":
        return key if param.max_iter < max_iters else ""
    if not key or max_iters == 1 or param.gamma == 1:
        return ""
    return key if first_fall(param) >= max_iters else ""


def first_fall(param: SolverParameter) -> int:
    """The iteration after which the policy "step" or "multistep" first lowers the learning rate."""
    return min(param.stepvalue, default=0) if param.lr_policy == "multistep" else param.stepsize


def steps_taken(param: SolverParameter, iterations: int) -> int:
    """The number of steps of the policy "multistep" in these iterations: one at each `stepvalue`, at most one each."""
    taken, last = 0, -1
    for value in param.stepvalue:
        last = max(value, last + 1)
        taken += last < iterations
    return taken


def default_stepsize(max_iters: int) -> int:
    """Three quarters of the iterations, as in py-faster-rcnn: 60000 of 80000, 30000 of 40000."""
    return max(1, max_iters * 3 // 4)


def default_iterations(stepsize: int) -> int:
    """Iterations for a learning rate that falls after `stepsize`: 4/3 of it (see `default_stepsize`)."""
    return stepsize * 4 // 3


def change_solver(param: SolverParameter, max_iters: int | None = None, lr: float | None = None) -> list[str]:
    """Change a SolverParameter, in place, to train `max_iters` iterations from learning rate `lr` (None: its own).

    Learning rate steps that all lie after the end are moved before it: `stepsize` to `default_stepsize`, `stepvalue` in
    proportion. Returns the changes in words, such as 'stepsize 60000 -> 300'.
    """
    changes = []
    if lr is not None:
        before = param.base_lr
        param.base_lr = lr
        changes += [f"base_lr {before:g} -> {lr:g}"] if param.base_lr != before else []
    key = late_setting(param, max_iters) if max_iters else ""
    if max_iters and key:
        words = _words(param, key)
        _move(param, key, max_iters)
        changes.append(f"{key} {words} -> {_words(param, key)}")
    return changes


def _move(param: SolverParameter, key: str, max_iters: int) -> None:
    if key == "stepvalue":
        last = max(param.stepvalue)
        whole = param.max_iter if param.max_iter >= last else default_iterations(last)
        param.stepvalue[:] = [max(1, value * max_iters // whole) for value in param.stepvalue]
    else:
        setattr(param, key, max_iters if key == "max_iter" else default_stepsize(max_iters))


def _words(param: SolverParameter, key: str) -> str:
    value = getattr(param, key)
    return str(value) if isinstance(value, int) else " ".join(map(str, value))


def write_solver(param: SolverParameter, net: str | os.PathLike, path: Path) -> Path:
    """Write a solver that trains the prototxt `net`, and tests it if `param` does; returns its path."""
    net = str(Path(net).resolve())
    if param.net:
        param.test_net.extend([net] * (len(param.test_iter) - len(param.test_net)))
    param.ClearField("net")
    param.train_net = net
    return write_text(path, prototxt.to_text(param))


def images_per_epoch(num_images: int, train: Config) -> int:
    """Number of training images, flipped copies included; `train` is cfg.TRAIN."""
    return num_images * (2 if train.USE_FLIPPED else 1) * (2 if train.USE_UPSIDE_DOWN else 1)


def iterations_of(epochs: float, num_images: int, train: Config, iter_size: int = 1, processes: int = 1) -> int:
    """Iterations that see each image, flipped copies included, `epochs` times: rounded up, at least 1.

    Raises ConfigError if they are more than Caffe can count.
    """
    images = images_per_epoch(num_images, train) * epochs
    iterations = max(1, -int(-images // (train.IMS_PER_BATCH * max(1, iter_size) * processes)))
    if iterations > MOST_ITERATIONS:
        raise ConfigError(f"{epochs:g} epochs of {num_images} images are {iterations:g} iterations, more than "
                          f"{MOST_ITERATIONS}: give fewer --epochs")
    return iterations


def epochs_in_words(epochs: float, num_images: int, train: Config) -> str:
    """'2 epochs of 480 images (240 and their mirror images)'."""
    added = "mirror images" * train.USE_FLIPPED + " and " * (train.USE_FLIPPED and train.USE_UPSIDE_DOWN)
    added += "images upside down" * train.USE_UPSIDE_DOWN
    return f"{epochs:g} epoch{'s' * (epochs != 1)} of {images_per_epoch(num_images, train)} images" + (
        f" ({num_images} and their {added})" if added else "")
