"""What all commands share: the log, user errors, the device, progress."""
from __future__ import annotations

import argparse
import contextlib
import datetime
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from .. import pycaffe
from ..engine.device import PRECISIONS
from ..errors import CaffeError
from ..logs import DEFAULT_HANDLER, LEVELS, LogFormatter, least_level
from ..proto.binary import LFS_POINTER, is_lfs_pointer

log = logging.getLogger("caffe")

_SECONDS_BETWEEN_LINES = 5.0


class CommandError(CaffeError):
    """A command line that cannot be executed; the message says what to do."""


def guarded(name: str, work: Callable[[], int]) -> int:
    """Run a command with the log on stderr; returns its exit status.

    User errors give one message and status 2, Ctrl-C gives status 130; bugs keep their traceback.
    """
    with log_on_stderr():
        try:
            return work()
        except SystemExit as stop:          # from argparse: --help, or a mistake already reported
            return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        except KeyboardInterrupt:
            print(f"{name}: interrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:             # the reader of the output, such as `head`, has exited
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except (CaffeError, OSError) as error:
            print(f"{name}: {_message(error)}", file=sys.stderr)
            return 2


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def apply_log_flags(args: argparse.Namespace) -> None:
    """Apply the flags of Caffe's log. Raises CommandError for an unknown level."""
    least = args.global_minloglevel or ""
    if least not in ("", "0", "1", "2", "3"):
        raise CommandError(f"-minloglevel {least}: expected 0 (INFO), 1 (WARNING), 2 (ERROR) or 3 (FATAL)")
    log.setLevel(LEVELS[int(least)] if least else least_level())
    if args.global_log_dir:
        log.info("-log_dir: no files are written there, the log goes to stderr only")


@contextlib.contextmanager
def log_on_stderr() -> Iterator[None]:
    """Print the engine's log to stderr, from the environment's minimum level on (default: INFO)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormatter())
    before = log.level
    log.removeHandler(DEFAULT_HANDLER)
    log.addHandler(handler)
    log.setLevel(least_level())
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.addHandler(DEFAULT_HANDLER)
        log.setLevel(before)


def existing_file(path: str, flag: str) -> str:
    """Return the path. Raises CommandError if there is no file, or only a Git LFS pointer."""
    if not Path(path).is_file():
        raise CommandError(f"{flag}: there is no file {path or 'without a name'}")
    if is_lfs_pointer(path):
        raise CommandError(f"{flag}: {path}: this is {LFS_POINTER}")
    return path


def use_device(gpu: str, precision: str = PRECISIONS[0]) -> None:
    """Compute on the GPU given by -gpu, or on the CPU if it is empty, with the precision given by -precision.

    Raises CommandError if there is no such GPU.
    """
    pycaffe.set_precision(precision)
    if precision != PRECISIONS[0]:
        log.info("Precision: %s", precision)
    if not gpu:
        pycaffe.set_mode_cpu()
        log.info("Using the CPU")
        if precision == "bfloat16" and not pycaffe.has_bfloat16():
            log.warning("This processor has no bfloat16 instructions: computing in float32, which is faster")
        return
    if not pycaffe.has_gpu():
        raise CommandError(f"-gpu {gpu}: PyTorch sees no CUDA GPU here; without -gpu the CPU is used")
    ids = [str(index) for index in range(torch.cuda.device_count())] if gpu == "all" else gpu.split(",")
    if len(ids) > 1:
        log.info("-gpu %s: only one GPU can be used; it is the first, %s", gpu, ids[0])
    if not ids[0].isdecimal() or int(ids[0]) >= torch.cuda.device_count():
        raise CommandError(f"-gpu {gpu}: expected 'all' or a number below {torch.cuda.device_count()}")
    pycaffe.set_device(int(ids[0]))
    pycaffe.set_mode_gpu()
    log.info("Using GPU %s, %s", ids[0], torch.cuda.get_device_name(int(ids[0])))


class Progress:
    """Logs the progress of a long job every few seconds: '300 of 5000 images, 60/s, ETA 0:01:18'."""

    def __init__(self, total: int, what: str) -> None:
        self._total, self._what, self._done = total, what, 0
        self._start = self._shown = time.monotonic()

    def step(self) -> None:
        """Count one more."""
        self._done += 1
        now = time.monotonic()
        if now - self._shown >= _SECONDS_BETWEEN_LINES and self._done < self._total:
            self._shown = now
            rate = self._done / (now - self._start)
            left = datetime.timedelta(seconds=round((self._total - self._done) / rate))
            log.info("%d of %d %s, %.3g/s, ETA %s", self._done, self._total, self._what, rate, left)
