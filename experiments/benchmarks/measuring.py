"""Helpers shared by the benchmarks: processor name, memory of a process, tasks in subprocesses, fits, options."""
from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def positive(text: str) -> int:
    """argparse type: an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def anonymous_mb(process: int | str = "self") -> float:
    """Anonymous memory of a process in MB; 0 once it has ended (Linux)."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return 0.0


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def add_report_option(parser: argparse.ArgumentParser, path: Path) -> None:
    """--report [FILE]: write the report to FILE, by default to `path`."""
    parser.add_argument("--report", type=Path, nargs="?", const=path, metavar="FILE",
                        help=f"write the report to a file (default: {path.name} next to this program)")


def publish(text: str, path: Path | None) -> None:
    """Print a report and, if a path is given, write it there."""
    print(text)
    if path:
        path.write_text(text, encoding="utf-8")


class ProcessFailed(RuntimeError):
    """A program failed; `reason` gives its exit status and the last line of its stderr."""

    def __init__(self, arguments: Sequence[str], reason: str) -> None:
        super().__init__(f"measuring {' '.join(arguments)} {reason}")
        self.reason = reason


def in_a_process(program: str, *arguments: str, interval: float = 0.001) -> dict[str, Any]:
    """Run a Python program; returns the JSON object in its last line of stdout, plus its `peak` memory in MB.

    Its stderr is shown when it has ended.

    interval  seconds between two readings of its memory
    Raises ProcessFailed for a nonzero exit status.
    """
    peak = 0.0
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output, \
            tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        with subprocess.Popen([sys.executable, program, *arguments], stdout=output, stderr=errors) as child:
            while child.poll() is None:
                peak = max(peak, anonymous_mb(child.pid))
                time.sleep(interval)
        output.seek(0)
        errors.seek(0)
        lines, messages = output.read().splitlines(), errors.read()
    print(messages, end="", file=sys.stderr, flush=True)
    if child.returncode:
        last = (messages.strip().splitlines() or ["no message"])[-1]
        raise ProcessFailed(arguments, f"failed with exit status {child.returncode}: {last}")
    return {**json.loads(lines[-1]), "peak": peak}


def seconds(repeats: int, *functions: Callable[[], object]) -> list[float]:
    """Each function's shortest time in seconds over `repeats` calls after a warm-up call; the functions take turns."""
    found: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats + 1):
        for times, function in zip(found, functions, strict=True):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return [min(times[1:]) for times in found]


def line_through(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """a and b of y = a + b x, by least squares of the relative errors."""
    weights = 1 / np.asarray(y, np.float64)
    columns = np.column_stack([np.ones(len(x)), np.asarray(x, np.float64)])
    (a, b), *_ = np.linalg.lstsq(columns * weights[:, None], np.ones(len(x)), rcond=None)
    return float(a), float(b)


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """p of y = c x^p, by least squares of the logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
