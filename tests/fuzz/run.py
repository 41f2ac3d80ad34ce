"""Fuzzes all readers: damages valid inputs of every kind and reports failures other than the project's own errors.

  python tests/fuzz/run.py --count 100000 --seed 0
  python tests/fuzz/run.py --count 20000 --kind xml --kind yaml --out failures
  python tests/fuzz/run.py --kind xml --again 1234          only input number 1234, with its traceback

An input depends only on the seed and its number. It may be read successfully or end in one of the project's own errors
(see utils/errors.py). Other exceptions, crashes, more than 10 s, more than 2 GB of memory, and memory growth are
failures; they are reported with the smallest input of each. The exit status is 1 if there are any.
"""
from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import worker

BATCH = 1000                # inputs per process
PATIENCE = 60.0             # seconds without progress after which a process is killed: it hangs in C code
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["readers", "caffe"])       # importing takes longer than reading a few inputs
_REPORT = "smallest input {size} bytes: {input}"


class Failure(NamedTuple):
    """An input on which a reader failed."""

    kind: str
    error: str
    where: str
    message: str
    size: int
    path: Path


def run_kind(kind: str, seed: int, count: int, out: Path, first: int = 0) -> list[Failure]:
    """Read `count` inputs of a kind; failing inputs are kept in the folder `out`."""
    folder = out / kind
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    end = first + count
    while first < end:
        first = _run_batch(kind, seed, first, min(BATCH, end - first), folder)
    shutil.rmtree(folder / "work", ignore_errors=True)
    return _failures(kind, folder)


def _run_batch(kind: str, seed: int, first: int, count: int, folder: Path) -> int:
    """Run a worker; returns the number of the next input."""
    (folder / "progress").write_text("none")
    process = _CONTEXT.Process(target=worker.run, args=(kind, seed, first, count, folder))
    process.start()
    hangs = _wait(process, folder / "progress")
    progress = (folder / "progress").read_text()
    if progress == "done":
        return first + count
    if progress == "none":
        raise RuntimeError(f"{kind}: cannot make the valid inputs\n{(folder / 'stderr').read_text()}")
    number, error = int(progress), "hang" if hangs else f"exit status {process.exitcode}"
    _note_death(kind, seed, number, error, folder)
    return number + 1


def _wait(process: BaseProcess, progress: Path) -> bool:
    """Wait for a worker; returns whether it made no progress and was killed."""
    seen, since = "", time.monotonic()
    while process.is_alive():
        process.join(0.1)
        now = progress.read_text()
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            process.kill()
            process.join()
            return True
    return False


def _note_death(kind: str, seed: int, number: int, error: str, folder: Path) -> None:
    """Record the input at which a worker died."""
    from readers import make_target
    target, valid = make_target(kind, folder / "work")
    data = worker.make_input(kind, seed, number, valid, target.mutations)
    name = f"{kind}_{seed}_{number}{target.path.suffix}"
    (folder / name).write_bytes(data)
    lines = (folder / "stderr").read_text(errors="replace").splitlines()
    where = next((line.strip() for line in lines if line.lstrip().startswith("File ")), "")
    with open(folder / "failures.jsonl", "a") as file:
        file.write(json.dumps({"number": number, "size": len(data), "input": name, "error": error, "where": where,
                               "message": " | ".join(lines[-3:])[:300]}) + "\n")


def _failures(kind: str, folder: Path) -> list[Failure]:
    path = folder / "failures.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [Failure(kind, record["error"], record["where"], record["message"], record["size"],
                    folder / record["input"]) for record in records]


def report(failures: list[Failure]) -> str:
    """A paragraph for each kind of failure with its smallest input, the most frequent kind first."""
    alike: dict[Any, list[Failure]] = defaultdict(list)
    for failure in failures:
        alike[failure.kind, failure.error, failure.where].append(failure)
    lines = []
    for (kind, error, where), found in sorted(alike.items(), key=lambda item: -len(item[1])):
        smallest = min(found, key=lambda failure: failure.size)
        lines.append(f"{kind}: {error} at {where or 'an unknown place'}, {len(found)} times\n  {smallest.message!r}\n"
                     f"  {_REPORT.format(size=smallest.size, input=smallest.path)}")
    return "\n".join(lines)


def read_again(kind: str, seed: int, number: int) -> None:
    """Read one input in this process, without limits."""
    from readers import make_target
    with tempfile.TemporaryDirectory() as folder:
        target, valid = make_target(kind, Path(folder, "work"))
        os.chdir(target.folder)
        target.path.write_bytes(worker.make_input(kind, seed, number, valid, target.mutations))
        target.read()


def main() -> int:
    """Run the program; returns its exit status."""
    from readers import KINDS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10000, help="total number of inputs (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only this kind; may be repeated")
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each kind (default: 0)")
    parser.add_argument("--again", type=int, metavar="NUMBER", help="read one input of --kind and show its traceback")
    parser.add_argument("--out", type=Path, help="folder for failing inputs (default: a new temporary folder)")
    args = parser.parse_args()
    kinds = args.kind or list(KINDS)
    if args.again is not None:
        read_again(kinds[0], args.seed, args.again)
        return 0
    out = args.out or Path(tempfile.mkdtemp(prefix="fuzz_"))
    print(f"seed {args.seed}, inputs in {out}", flush=True)
    failures: list[Failure] = []
    for kind in kinds:
        start, found = time.monotonic(), run_kind(kind, args.seed, args.count // len(kinds), out, args.first)
        failures += found
        errors = ", ".join(f"{count} {error}" for error, count in Counter(one.error for one in found).items())
        print(f"{kind}: {args.count // len(kinds)} inputs, {time.monotonic() - start:.0f} s: {errors or 'nothing'}",
              flush=True)
    print(report(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
