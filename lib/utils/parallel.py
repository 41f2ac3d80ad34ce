"""The processes of a run that torchrun started: which of them this is, and what they tell one another.

A run of one process is one of these with nobody to tell: it needs no case of its own.
"""
from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from utils.errors import UserError

if TYPE_CHECKING:
    import numpy as np


def is_wanted() -> bool:
    """Whether this process was started as one of several, as its environment says."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def local_rank() -> int:
    """Number of this process among those on its machine: the GPU that it uses."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def join() -> None:
    """Join the others, if there are any; once the device is chosen. Raises UserError where this Caffe cannot."""
    if not is_wanted():
        return
    import caffe
    from utils import other_caffe
    if not other_caffe.can_train_in_parallel():
        raise UserError("this Caffe trains in one process: start the tool without torchrun")
    caffe.init_parallel()


def count() -> int:
    """How many processes have joined."""
    from utils import other_caffe
    return other_caffe.solver_count()


def rank() -> int:
    """Which of them this is, from 0."""
    from utils import other_caffe
    return other_caffe.solver_rank()


def is_first() -> bool:
    """Whether this is the one that decides, logs and writes files."""
    return rank() == 0


def label() -> str:
    """' (rank 1 of 2)' for messages; nothing where there is one process only."""
    return f" (rank {os.environ.get('RANK', '?')} of {os.environ['WORLD_SIZE']})" if is_wanted() else ""


def gather(value: Any) -> list[Any]:
    """The values of all processes by rank; each is what JSON can hold. All call it, and wait for one another."""
    import caffe
    return caffe.gather_values(value) if count() > 1 else [value]


def from_first(value: Any) -> Any:
    """The first process's value, in all of them."""
    return gather(value)[0]


def wait() -> None:
    """Wait until all have come here."""
    gather(None)


def mean(values: dict[str, float]) -> dict[str, float]:
    """The mean of each value over all processes, which all have the same names."""
    found = gather(values)
    return {name: sum(of_one[name] for of_one in found) / len(found) for name in values}


@contextlib.contextmanager
def after_the_first() -> Iterator[None]:
    """Let the first process go through the block before the others do."""
    if not is_first():
        wait()
    yield
    if is_first():
        wait()


def collect(array: np.ndarray) -> list[np.ndarray]:
    """The arrays of all processes by rank, in the first one; nothing in the others. All call it."""
    import caffe
    return caffe.gather_arrays(array) if count() > 1 else [array]


@contextlib.contextmanager
def quiet_unless_first() -> Iterator[None]:
    """Drop what the others print: there is one log. Their errors are shown all the same."""
    if not is_wanted() or os.environ.get("RANK") == "0":
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
