"""Runs the steps in all processes of a parallel run: the first process leads, the others follow.

Every process runs each step in its own child process. The children connect through a port that the first process picks
for each step; if all processes are on one machine, only that machine can reach it.
"""
from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from utils import parallel
from utils.child_process import ChildDied, run_child
from utils.other_caffe import ParallelError


def run_step(command: Sequence[str], job: Path, name: str, log: Path, keep_open: Sequence[int] = ()) -> bool:
    """Run `command JOB` to completion, here and in all followers.

    Returns True if a process was asked to stop but the step had already finished.
    Raises the exceptions of `run_child`, and caffe.ParallelError if a follower has failed, which prints its own error.
    """
    order = {"job": str(job), "name": name, "log": str(log)}
    if parallel.count() == 1:
        return run_child([*command, str(job)], name, log, keep_open=keep_open)
    return _obey(parallel.from_first({**order, "port": _free_port()}), command, keep_open)


def follow(command: Sequence[str]) -> None:
    """Run each step that the first process runs, until there are no more.

    Raises the exceptions of `run_step`, and KeyboardInterrupt if it returns True.
    """
    while (order := parallel.from_first(None)) is not None:
        if _obey(order, command):
            raise KeyboardInterrupt


@contextlib.contextmanager
def leading() -> Iterator[None]:
    """Let the other processes follow inside the block, and release them at its end.

    They are not waited for after a failed step, which has failed in them too.
    """
    try:
        yield
    except (ChildDied, KeyboardInterrupt, ParallelError):
        raise
    except BaseException:
        parallel.from_first(None)
        raise
    parallel.from_first(None)


def _obey(order: dict[str, Any], command: Sequence[str], keep_open: Sequence[int] = ()) -> bool:
    log = Path(order["log"])
    if not parallel.is_first():
        log = log.with_name(f"{log.stem}.rank{parallel.rank()}{log.suffix}")
    environment = {"MASTER_PORT": str(order["port"]), "TORCHELASTIC_USE_AGENT_STORE": "False",
                   **({"MASTER_ADDR": "127.0.0.1"} if _on_one_machine() else {})}
    is_stopped = run_child([*command, order["job"]], order["name"] + parallel.label(), log, keep_open=keep_open,
                           environment=environment)
    return any(parallel.gather(is_stopped or None))     # also waits until the step is done everywhere


def _on_one_machine() -> bool:
    """Whether all processes of the run are on this machine, so that their children do not need the network."""
    return os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1" if _on_one_machine() else "", 0))
        return found.getsockname()[1]
