"""Runs one step of a long job in its own process; parent and child monitor each other.

The parent prints the child's lines as they arrive, appends them to a log file, and reports at once when the child dies.
The child holds a pipe whose other end belongs to the parent: when it closes, however the parent ended, the child ends
too.
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

USER_ERROR = 2          # exit status of a child that ended with a user error
INTERRUPTED = 130       # ... that was asked to stop and shut down in order
LAST_LINES = 12
_PATIENCE = 120.0       # seconds that an interrupted child may take to write its checkpoint


class ChildDied(UserError):
    """A child process ended with an error; `status` is its exit status, negative for a signal."""

    def __init__(self, name: str, status: int, lines: Sequence[str], log: Path) -> None:
        self.status, self.lines = status, list(lines)
        last = "\n".join(f"  | {line}" for line in lines) or "  | (it printed nothing)"
        super().__init__(f"{name} died ({describe_status(status)}). Its last lines:\n{last}\nLog: {log}")


def describe_status(status: int) -> str:
    """Readable exit status: 'exit status 1', 'killed by SIGKILL, perhaps for want of memory'."""
    if status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name
    return f"killed by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")


def run_child(command: Sequence[str], name: str, log_path: str | os.PathLike, *, cwd: str | None = None,
              keep_open: Sequence[int] = (), stream: TextIO | None = None,
              environment: Mapping[str, str] | None = None) -> None:
    """Run a command to completion; its output goes to `stream` (default: ours) and is appended to the log.

    keep_open    descriptors that the child inherits, such as that of a lock
    environment  variables in addition to ours
    Raises ChildDied if it fails, and KeyboardInterrupt, after the child has stopped, if we are asked to stop
    by SIGINT (Ctrl-C), SIGTERM or SIGHUP. A second Ctrl-C kills the child.
    """
    path, lines = Path(log_path), deque[str](maxlen=LAST_LINES)
    path.parent.mkdir(parents=True, exist_ok=True)
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", **(environment or {})}
    # A session of its own: Ctrl-C reaches only the parent, which passes it on once.
    process = subprocess.Popen(command, cwd=cwd, env=variables, text=True, errors="replace",
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               pass_fds=tuple(keep_open), start_new_session=True)
    reader = threading.Thread(target=_copy_lines, daemon=True,
                              args=(process.stdout, lines, path, stream or sys.stdout))
    reader.start()
    with _ended_at_last(process), terminations_as_interrupts():
        try:
            # Not for the end of its output, which a process left behind may keep open.
            status = process.wait()
        except KeyboardInterrupt:
            status = _stop(process, stream or sys.stdout)
            if status in (INTERRUPTED, -signal.SIGTERM, -signal.SIGKILL):
                raise
        finally:
            reader.join(timeout=2)
    if status == INTERRUPTED:           # the child itself was signalled
        raise KeyboardInterrupt
    if status:
        raise ChildDied(name, status, lines, path)


def _copy_lines(source: TextIO, lines: deque[str], path: Path, stream: TextIO) -> None:
    with source, open(path, "a", encoding="utf-8") as log:
        for line in source:
            lines.append(line.rstrip("\n"))
            log.write(line)
            log.flush()
            print(line, end="", file=stream, flush=True)


def _stop(process: subprocess.Popen, stream: TextIO) -> int:
    """Ask the child to stop and wait for it; kill it when asked again or if it takes too long."""
    print("Stopping (Ctrl-C again to stop at once) ...", file=stream, flush=True)
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(timeout=_PATIENCE)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        process.kill()
        return process.wait()


@contextlib.contextmanager
def _ended_at_last(process: subprocess.Popen) -> Iterator[None]:
    """No child outlives the block."""
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
    """Inside the block SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does (main thread only)."""
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    with _handlers({signal.SIGTERM: interrupt, signal.SIGHUP: interrupt}):
        yield


@contextlib.contextmanager
def _handlers(handlers: dict[int, Callable]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopRequest:
    """Turns SIGTERM and Ctrl-C into a flag for a loop to check; the second one interrupts as usual.

        with StopRequest() as stop:
            while not stop.requested: ...
    """

    def __init__(self) -> None:
        self.requested = False

    def _handle(self, number: int, frame: object) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __enter__(self) -> StopRequest:
        self._context = _handlers({signal.SIGTERM: self._handle, signal.SIGINT: self._handle})
        self._context.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._context.__exit__(None, None, None)


def end_with_parent(stream: TextIO | None = None) -> None:
    """End this process as soon as the parent's end of `stream` (default: standard input) closes.

    For a child of `run_child`, to be called first. It ends at once, without a checkpoint, so that the folder is free
    for a restart.
    """
    source = stream or sys.stdin

    def watch() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(source.fileno(), 4096):
                time.sleep(0.01)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent watch").start()
