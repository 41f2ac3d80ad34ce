"""Runs programs in separate processes, as `python -c` does, but faster: in forks of one that has loaded PyTorch."""
from __future__ import annotations

import multiprocessing
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path


def run_python(program: str, environment: Mapping[str, str], folder: str | os.PathLike | None = None,
               timeout: float = 120) -> subprocess.CompletedProcess:
    """Run a program with these environment variables in `folder` (default: ours); returns its status and outputs.

    Outside the standard library, only PyTorch and the modules that it imports, such as NumPy, are loaded.
    Raises TimeoutExpired after `timeout` seconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])
    with tempfile.TemporaryDirectory() as outputs:
        files = [Path(outputs, name) for name in ("stdout", "stderr")]
        process = context.Process(target=_execute, args=(program, dict(environment), folder or os.getcwd(), files))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(program, timeout)
        return subprocess.CompletedProcess(program, process.exitcode, *(file.read_text() for file in files))


def _execute(program: str, environment: dict[str, str], folder: str | os.PathLike, files: list[Path]) -> None:
    for number, file in enumerate(files, start=1):
        with open(file, "w") as opened:
            os.dup2(opened.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
