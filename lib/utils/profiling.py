"""Profiles for --profile: the time of each part of an iteration, as a table and as a Chrome trace."""
from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import caffe
from utils import other_caffe, parallel
from utils.files import write_text
from utils.other_caffe import Net, Solver

WARM_UP, MEASURED = 5, 20       # iterations that are skipped, and that are measured


@contextlib.contextmanager
def profiled(source: Net | Solver, path: Path | None,
             iterations: int) -> Iterator[Callable[[], AbstractContextManager]]:
    """Profile some iterations of a net or a solver inside the block: yields a context to wrap each iteration.

    Up to MEASURED iterations are profiled, after WARM_UP others or half of `iterations`, whichever is less. Then the
    files are written; the rest of the run is not slowed down. In a parallel run only the first process is profiled.

    source      the net, or the solver
    path        `profile_files` of it are written; None: no profiling
    iterations  expected number
    """
    if path is None or not parallel.is_first():
        yield contextlib.nullcontext
    else:
        with other_caffe.profile(source, min(WARM_UP, iterations // 2), MEASURED,
                                 lambda profile: _write(profile, path)) as iteration:
            yield iteration


def profile_files(path: Path) -> tuple[Path, Path]:
    """The table and the trace of a profile, given without extension."""
    return path.with_name(f"{path.name}.txt"), path.with_name(f"{path.name}_trace.json")


def _write(profile: caffe.Profile, path: Path) -> None:
    table, trace = profile_files(path)
    last = profile.first + profile.iterations
    write_text(table, f"{path.name}, iterations {profile.first + 1} to {last} of this process\n\n{profile.table()}\n")
    write_text(trace, json.dumps(profile.trace()))
    print(f"Profile of iterations {profile.first + 1} to {last}: {table}, {trace} (chrome://tracing)", flush=True)
