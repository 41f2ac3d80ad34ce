"""Runs the steps in all processes of a parallel run: the first one leads, the others follow.

Every process runs each step in a child of its own. The children connect at a port that the first process picks for
each step; on one machine it is open to this machine only.
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


def run_step(command: Sequence[str], job: Path, name: str, log: Path, keep_open: Sequence[int] = ()) -> bool:
    """Run `command JOB` to completion, here and in all followers.

    Returns whether a process was asked to stop, which came too late for the step.
    Raises what `run_child` raises, and caffe.ParallelError if a follower has failed, which prints its own error.
    """
    order = {"job": str(job), "name": name, "log": str(log)}
    if parallel.count() == 1:
        return run_child([*command, str(job)], name, log, keep_open=keep_open)
    return _obey(parallel.from_first({**order, "port": _free_port()}), command, keep_open)


def follow(command: Sequence[str]) -> None:
    """Run each step that the first process runs, until there are no more.

    Raises what `run_step` raises, and KeyboardInterrupt after a step that was asked to stop too late.
    """
    while (order := parallel.from_first(None)) is not None:
        if _obey(order, command):
            raise KeyboardInterrupt


@contextlib.contextmanager
def leading() -> Iterator[None]:
    """The other processes follow inside the block, and are released at its end.

    After a failed step they are not waited for: theirs has failed too.
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


def _obey(order: dict[str, Any], command: Sequence[str], keep_open: Sequence[int] = ()) -> bool:
    log = Path(order["log"])
    if not parallel.is_first():
        log = log.with_name(f"{log.stem}.rank{parallel.rank()}{log.suffix}")
    environment = {"MASTER_PORT": str(order["port"]), "TORCHELASTIC_USE_AGENT_STORE": "False",
                   **({"MASTER_ADDR": "127.0.0.1"} if _on_one_machine() else {})}
    is_stopped = run_child([*command, order["job"]], order["name"] + parallel.label(), log, keep_open=keep_open,
                           environment=environment)
    return any(parallel.gather(is_stopped or None))     # the step is done when it is done everywhere


def _on_one_machine() -> bool:
    """Whether all processes of the run are on this machine, so that their children need no network."""
    return os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1" if _on_one_machine() else "", 0))
        return found.getsockname()[1]
