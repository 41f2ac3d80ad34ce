"""Names of a training's snapshots, <prefix>[_<infix>]_iter_<n>.caffemodel, and of the records beside them."""
from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fast_rcnn.config import Config
from fast_rcnn.detector_record import MODEL_RECORD, record_of

if TYPE_CHECKING:       # the engine is not needed to name files
    from caffe.proto.caffe_pb2 import SolverParameter

_SUFFIXES = rf"(\.caffemodel|{re.escape(MODEL_RECORD)})"


def snapshot_name(solver: SolverParameter, settings: Config, iteration: int) -> str:
    """Name of the snapshot at an iteration, for a SolverParameter and settings of TRAIN."""
    infix = f"_{settings.SNAPSHOT_INFIX}" if settings.SNAPSHOT_INFIX else ""
    return f"{Path(solver.snapshot_prefix or 'net').name}{infix}_iter_{iteration}.caffemodel"


def snapshots_to_come(solver: SolverParameter, settings: Config, max_iters: int, names: Iterable[str],
                      done: int = 0) -> list[str]:
    """Select the names of models and records that training from iteration `done` to `max_iters` will write."""
    stem = snapshot_name(solver, settings, 0).removesuffix("0.caffemodel")
    alike = re.compile(re.escape(stem) + r"(\d+)" + _SUFFIXES)
    numbers = {name: int(match[1]) for name in names if (match := alike.fullmatch(name))}
    return [name for name, number in numbers.items()
            if number == max_iters or (done < number < max_iters and number % settings.SNAPSHOT_ITERS == 0)]


def others_of_the_same_training(name: str, names: Iterable[str]) -> list[str]:
    """Select the names of models and records that other iterations of the training of the model `name` have written."""
    alike = re.compile(re.escape(name.rpartition("_iter_")[0]) + r"_iter_\d+" + _SUFFIXES)
    kept = {name, record_of(name).name}
    return [other for other in names if other not in kept and alike.fullmatch(other)]
