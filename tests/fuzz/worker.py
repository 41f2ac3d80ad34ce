"""The worker process of run.py: reads damaged inputs of one kind with limited memory and time, and records failures.

Arguments: kind, seed, number of the first input, number of inputs, folder. It writes into the folder `progress` (the
number of the current input), `failures.jsonl`, and the failing inputs.
"""
from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import resource
import signal
import sys
import traceback
import warnings
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "fuzz"), str(ROOT / "tools"), str(ROOT / "lib"),
                str(ROOT / "caffe-fast-rcnn" / "python")]

MEMORY = 2 << 30            # limit in bytes for reading inputs, caches included
GROWTH = 300 << 20          # bytes by which this process may grow after the warm-up
WARM_UP = 200               # inputs
SECONDS = 10                # limit for one input


class TooLong(BaseException):
    """An input takes too long. A BaseException, so that `except Exception` does not catch it."""


def main(kind: str, seed: int, first: int, count: int, folder: Path) -> None:
    """Read the inputs one by one."""
    from readers import make_target
    target, valid = make_target(kind, folder / "work")
    os.chdir(folder / "work")
    signal.signal(signal.SIGALRM, _too_long)
    resource.setrlimit(resource.RLIMIT_AS, (_pages(0) + MEMORY,) * 2)
    before = None
    with open(folder / "failures.jsonl", "a") as failures:
        for number in range(first, first + count):
            (folder / "progress").write_text(str(number))
            data = make_input(kind, seed, number, valid, target.mutations)
            target.path.unlink(missing_ok=True)
            target.path.write_bytes(data)
            failure = read(target)
            if failure:
                name = f"{kind}_{seed}_{number}{target.suffix or target.path.suffix}"
                (folder / name).write_bytes(data)
                failures.write(json.dumps({"number": number, "size": len(data), "input": name, **failure}) + "\n")
                failures.flush()
            if number == first + WARM_UP:
                before = _usage()
        growth = _grown(before)
        if growth:
            failures.write(json.dumps({"number": first + count - 1, "size": 0, "input": "", **growth}) + "\n")
    (folder / "progress").write_text("done")


def make_input(kind: str, seed: int, number: int, valid, mutations) -> bytes:
    """Input `number` of a kind; it depends only on the seed and the number."""
    import numpy as np
    from mutations import damaged, pick
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode()), number])
    return damaged(pick(rng, valid), mutations, rng)


def read(target) -> dict[str, str] | None:
    """Read the target; returns a description of the failure, None for success or a user error."""
    from utils.errors import is_user_error
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read()
        return None
    except BaseException as error:      # noqa: BLE001
        signal.setitimer(signal.ITIMER_REAL, 0)
        if isinstance(error, Exception) and is_user_error(error):
            return None
        return {"error": type(error).__name__, "where": _where(error), "message": str(error)[:300]}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _where(error: BaseException) -> str:
    """The innermost frame in the project's code."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if str(ROOT) in frame.filename and "/tests/fuzz/" not in frame.filename]
    frame = (ours or frames)[-1]
    return f"{frame.filename.removeprefix(str(ROOT) + '/')}:{frame.lineno} in {frame.name}"


def _too_long(number, frame):
    raise TooLong(f"more than {SECONDS} s")


def _pages(column: int) -> int:
    """Size in bytes of the address space (column 0) or of resident memory (1)."""
    return int(Path("/proc/self/statm").read_text().split()[column]) * resource.getpagesize()


def _usage() -> tuple[int, int]:
    return _pages(1), len(os.listdir("/proc/self/fd"))


def _grown(before: tuple[int, int] | None) -> dict[str, str] | None:
    if before is None:
        return None
    memory, files = (now - then for now, then in zip(_usage(), before, strict=True))
    if memory > GROWTH or files > 20:
        return {"error": "growth", "where": "", "message": f"{memory >> 20} MB and {files} open files more"}
    return None


def run(kind: str, seed: int, first: int, count: int, folder: Path) -> None:
    """`main` in a process of its own, whose standard error becomes the file `stderr` in the folder."""
    for name, number in (("/dev/null", 1), (folder / "stderr", 2)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    import torch
    torch.set_num_threads(1)
    faulthandler.enable(file=2)
    logging.disable(logging.CRITICAL)
    main(kind, seed, first, count, folder)
