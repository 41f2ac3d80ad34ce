"""What the programs of this folder measure with: a process's own memory, tasks in processes of their own, fits."""
from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def anonymous_mb(process: int | str = "self") -> float:
    """Memory of a process that no file backs, in MB; 0 once it has ended (Linux)."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return 0.0


def in_a_process(program: str, *arguments: str, interval: float = 0.001) -> dict[str, Any]:
    """Run a Python program; returns the JSON object that it prints last, and its `peak` memory in MB.

    interval  seconds between two looks at its memory
    Raises RuntimeError if it fails.
    """
    peak = 0.0
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        with subprocess.Popen([sys.executable, program, *arguments], stdout=output) as child:
            while child.poll() is None:
                peak = max(peak, anonymous_mb(child.pid))
                time.sleep(interval)
        output.seek(0)
        lines = output.read().splitlines()
    if child.returncode:
        raise RuntimeError(f"measuring {' '.join(arguments)} failed: see the messages above")
    return {**json.loads(lines[-1]), "peak": peak}


def line_through(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """a and b of y = a + b x with the smallest relative errors."""
    weights = 1 / np.asarray(y, np.float64)
    columns = np.column_stack([np.ones(len(x)), np.asarray(x, np.float64)])
    (a, b), *_ = np.linalg.lstsq(columns * weights[:, None], np.ones(len(x)), rcond=None)
    return float(a), float(b)


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """p of y = c x^p, fitted to the logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
