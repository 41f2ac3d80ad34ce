"""The processes of a run started by torchrun: their ranks and communication.

A run of a single process is a group of one and needs no special case.
"""
from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

from utils.errors import UserError

if TYPE_CHECKING:
    import numpy as np

Value = TypeVar("Value")


def is_wanted() -> bool:
    """Whether this process was started as one of several, according to its environment."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def local_rank() -> int:
    """Rank of this process on its machine, and the index of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def join() -> None:
    """Join the other processes, if any, after the device was chosen. Raises UserError if this Caffe cannot."""
    if not is_wanted():
        return
    import caffe
    from utils import other_caffe
    if not other_caffe.can_train_in_parallel():
        raise UserError("this Caffe trains in one process: start the tool without torchrun")
    caffe.init_parallel()


def count() -> int:
    """Number of processes that have joined."""
    from utils import other_caffe
    return other_caffe.solver_count()


def rank() -> int:
    """Rank of this process, from 0."""
    from utils import other_caffe
    return other_caffe.solver_rank()


def is_first() -> bool:
    """Whether this is the process that decides, logs and writes files."""
    return rank() == 0


def label() -> str:
    """' (rank 1 of 2)' for messages; '' for a single process."""
    return f" (rank {os.environ.get('RANK', '?')} of {os.environ['WORLD_SIZE']})" if is_wanted() else ""


def gather(value: Value) -> list[Value]:
    """Gather a JSON value of each process, by rank. Collective: blocks until all processes have called it."""
    import caffe
    return caffe.gather_values(value) if count() > 1 else [value]


def from_first(value: Value) -> Value:
    """Broadcast the first process's value to all."""
    return gather(value)[0]


def wait() -> None:
    """Barrier: wait until all processes have called it."""
    gather(None)


def mean(values: dict[str, float]) -> dict[str, float]:
    """The mean of each value over all processes, which must have the same names."""
    found = gather(values)
    return {name: sum(of_one[name] for of_one in found) / len(found) for name in values}


@contextlib.contextmanager
def after_the_first() -> Iterator[None]:
    """Run the block in the first process before the others."""
    if not is_first():
        wait()
    yield
    if is_first():
        wait()


def collect(array: np.ndarray) -> list[np.ndarray]:
    """Gather the arrays of all processes, by rank, in the first one; [] in the others. Collective."""
    import caffe
    return caffe.gather_arrays(array) if count() > 1 else [array]


@contextlib.contextmanager
def quiet_unless_first() -> Iterator[None]:
    """Suppress standard output, but not errors, in all processes but the first."""
    if not is_wanted() or os.environ.get("RANK") == "0":
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
