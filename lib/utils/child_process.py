"""Runs one step of a long job in a child process; parent and child monitor each other.

The parent prints the child's lines as they arrive, appends them to a log file, and reports at once when the child dies.
The child reads from a pipe whose other end the parent holds: when that closes, however the parent ended, the child
exits too.
"""
from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from utils.errors import UserError
from utils.output import say

INTERRUPTED = 130       # exit status of a child that shut down cleanly after it was asked to stop
LAST_LINES = 12
_PATIENCE = 120.0       # seconds that an interrupted child may take to write its checkpoint
_AGAIN = 1.0            # seconds after which a Ctrl-C counts as a second one: torchrun sends each of them twice


class ChildDied(UserError):
    """A child process ended with an error; `status` is its exit status, negative for a signal."""

    def __init__(self, name: str, status: int, lines: Sequence[str], log: Path) -> None:
        self.status, self.lines = status, list(lines)
        last = "\n".join(f"  | {line}" for line in lines) or "  | (it printed nothing)"
        super().__init__(f"{name} died ({describe_status(status)}). Its last lines:\n{last}\nLog: {log}")


def describe_status(status: int) -> str:
    """Describe an exit status: 'exit status 1', 'killed by SIGKILL, perhaps out of memory'."""
    if status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name
    return f"killed by {name}" + (", perhaps out of memory" if name == "SIGKILL" else "")


def run_child(command: Sequence[str], name: str, log_path: str | os.PathLike, *, cwd: str | None = None,
              keep_open: Sequence[int] = (), stream: TextIO | None = None,
              environment: Mapping[str, str] | None = None) -> bool:
    """Run a command to completion; its output goes to `stream` (default: our stdout) and is appended to the log.

    Output that cannot be written, for example to a closed terminal, is dropped.

    keep_open    file descriptors that the child inherits, such as that of a lock
    environment  variables in addition to ours
    Returns True if we were asked to stop but the child had already finished its work.
    Raises ChildDied if the child fails, and KeyboardInterrupt, after the child has stopped, if we are asked to stop
    by SIGINT (Ctrl-C), SIGTERM or SIGHUP. A second Ctrl-C kills the child.
    """
    path, lines = Path(log_path), deque[str](maxlen=LAST_LINES)
    path.parent.mkdir(parents=True, exist_ok=True)
    log = open(path, "a", encoding="utf-8")
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", **(environment or {})}
    is_stopped = False
    with terminations_as_interrupts():
        # In its own session, so that Ctrl-C reaches only the parent, which passes it on once.
        process = subprocess.Popen(command, cwd=cwd, env=variables, text=True, errors="replace",
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   pass_fds=tuple(keep_open), start_new_session=True)
        with _ended_at_last(process):
            reader = threading.Thread(target=_copy_lines, daemon=True,
                                      args=(process.stdout, lines, log, stream or sys.stdout))
            try:
                reader.start()
                # Do not wait for the end of its output: a process that it left behind may keep that open.
                status = process.wait()
            except KeyboardInterrupt:
                is_stopped = True
                status = _stop(process, stream or sys.stdout)
                if status in (INTERRUPTED, -signal.SIGTERM, -signal.SIGKILL):
                    raise
            finally:
                if reader.ident is not None:        # Ctrl-C may arrive before the thread has started
                    reader.join(timeout=2)
    if status == INTERRUPTED:           # the child itself was signalled
        raise KeyboardInterrupt
    if status:
        raise ChildDied(name, status, lines, path)
    return is_stopped


def _copy_lines(source: TextIO, lines: deque[str], log: TextIO, stream: TextIO) -> None:
    with source:
        for line in source:
            lines.append(line.rstrip("\n"))
            for target in (log, stream):
                say(line, target, end="")
    with contextlib.suppress(OSError):
        log.close()


def _stop(process: subprocess.Popen, stream: TextIO) -> int:
    """Ask the child to stop and wait for it; kill it on a second Ctrl-C or if it takes too long."""
    process.send_signal(signal.SIGTERM)
    say("Stopping (Ctrl-C again to stop at once) ...", stream)
    try:
        return process.wait(timeout=_PATIENCE)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        process.kill()
        return process.wait()


@contextlib.contextmanager
def _ended_at_last(process: subprocess.Popen) -> Iterator[None]:
    """Kill the child at the end of the block if it is still running."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdin:
            process.stdin.close()


@contextlib.contextmanager
def terminations_as_interrupts() -> Iterator[None]:
    """Inside the block SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does (main thread only).

    A terminal that closes sends several signals: only the first one, and a later second Ctrl-C, raise.
    """
    first: list[float] = []

    def interrupt(number: int, frame: object) -> None:
        if not first or _is_second_ctrl_c(number, first[0]):
            first.append(time.monotonic())
            raise KeyboardInterrupt

    with _handlers(dict.fromkeys(_STOPPING, interrupt)):
        yield


_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def _is_second_ctrl_c(number: int, first: float) -> bool:
    return number == signal.SIGINT and time.monotonic() > first + _AGAIN


@contextlib.contextmanager
def _handlers(handlers: dict[int, Callable]) -> Iterator[None]:
    """Install signal handlers for the block (main thread only); an ignored SIGINT or SIGHUP (nohup) stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()
              if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopRequest:
    """Turns SIGTERM, SIGHUP and Ctrl-C into a flag for a loop to check; a second SIGTERM or Ctrl-C interrupts as usual.

        with StopRequest() as stop:
            while not stop.requested: ...
    """

    def __init__(self) -> None:
        self.requested = False
        self._first = 0.0

    def _handle(self, number: int, frame: object) -> None:
        if self.requested and (number == signal.SIGTERM or _is_second_ctrl_c(number, self._first)):
            raise KeyboardInterrupt
        if not self.requested:
            self.requested, self._first = True, time.monotonic()

    def __enter__(self) -> StopRequest:
        self._context = _handlers(dict.fromkeys(_STOPPING, self._handle))
        self._context.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._context.__exit__(None, None, None)


def end_with_parent(stream: TextIO | None = None) -> None:
    """End this process as soon as the parent's end of `stream` (default: standard input) closes.

    To be called first in a child of `run_child`. The process ends at once, without a checkpoint, so that the folder is
    free for a restart.
    """
    source = stream or sys.stdin

    def watch() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(source.fileno(), 4096):
                time.sleep(0.01)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent watch").start()
