"""How the processes of a parallel run go through its steps together: the first one leads, the others follow.

Each step runs in a child process of every one of them. The children find one another at a port of their own, which
the first process chooses anew for each step.
"""
from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from utils import parallel
from utils.child_process import ChildDied, run_child


def run_step(command: Sequence[str], job: Path, name: str, log: Path, keep_open: Sequence[int] = ()) -> None:
    """Run `command JOB` to its end, here and in all who follow.

    Raises what `run_child` raises, and caffe.ParallelError where a follower has failed: its own error is shown there.
    """
    order = {"job": str(job), "name": name, "log": str(log)}
    if parallel.count() == 1:
        run_child([*command, str(job)], name, log, keep_open=keep_open)
    else:
        _obey(parallel.from_first({**order, "port": _free_port()}), command, keep_open)


def follow(command: Sequence[str]) -> None:
    """Run, each time the first process does a step, the same one here, until it has no more.

    Raises what `run_step` raises.
    """
    while (order := parallel.from_first(None)) is not None:
        _obey(order, command)


@contextlib.contextmanager
def leading() -> Iterator[None]:
    """Inside the block the others follow; at its end they are told that there is nothing more to do.

    Where a step has failed they know by themselves, for theirs has failed too, and are not waited for.
    """
    try:
        yield
    except (ChildDied, KeyboardInterrupt):
        raise
    except BaseException as error:
        if type(error).__name__ != "ParallelError":
            parallel.from_first(None)
        raise
    parallel.from_first(None)


def _obey(order: dict[str, Any], command: Sequence[str], keep_open: Sequence[int] = ()) -> None:
    log = Path(order["log"])
    if not parallel.is_first():
        log = log.with_name(f"{log.stem}.rank{parallel.rank()}{log.suffix}")
    environment = {"MASTER_PORT": str(order["port"]), "TORCHELASTIC_USE_AGENT_STORE": "False"}
    run_child([*command, order["job"]], order["name"] + parallel.label(), log, keep_open=keep_open,
              environment=environment)
    parallel.wait()         # the step is done when it is done everywhere


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        return found.getsockname()[1]
