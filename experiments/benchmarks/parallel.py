#!/usr/bin/env python3
"""Throughput of training in N processes compared with one process, on the CPU cores of this machine.

    python experiments/benchmarks/parallel.py [--processes 2] [--net Tiny] [--iterations 30] [--report]

trains stage 1's RPN on a small synthetic data set: in one process with all cores, then in N processes that share the
cores equally and all-reduce gradients with gloo. Prints images per second and their ratio. Both use the same cores, so
the ideal ratio is 1; it is lowered by the cost of the all-reduce, and raised by what one process loses to
multi-threading. On N machines or N GPUs the ideal would be N times this ratio. `--report` writes parallel.md next to
this program.
"""
from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import _init_paths  # noqa: E402, F401
from measuring import add_report_option, publish  # noqa: E402
from net_definitions import NETS  # noqa: E402

SETTINGS = {"Tiny": {"TRAIN.SCALES": (300,), "TRAIN.MAX_SIZE": 500}}     # others: defaults
WARM_UP = 3             # iterations before timing starts


def write_files(folder: Path, net: str) -> None:
    """Write the data set and the net's prototxts."""
    from datasets.demo_scenes import CLASSES, make_demo_dataset
    from net_definitions import model_files
    make_demo_dataset(folder / "demo", num_train=12, num_test=1)
    for name, text in model_files(net, len(CLASSES) + 1, folder=folder.as_posix()).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def measure(folder: Path, net: str, iterations: int) -> dict[str, float]:
    """Train in this process, one of WORLD_SIZE; returns seconds per iteration, images, and MB of gradients."""
    import caffe
    from alt_opt.settings import stage_settings
    from datasets.factory import get_imdb
    from fast_rcnn.config import cfg, set_cfg
    from fast_rcnn.train import SolverWrapper, get_training_roidb
    from utils import parallel
    set_cfg(stage_settings("rpn", 1, True, SETTINGS.get(net, {})))
    caffe.set_random_seed(cfg.RNG_SEED)
    parallel.join()
    [solver_file] = (folder / net / "faster_rcnn_alt_opt").glob("stage1_rpn_solver*.pt")
    solver = SolverWrapper(solver_file, get_training_roidb(get_imdb(f"{folder / 'demo'}:trainval")), folder).solver
    solver.step(WARM_UP)
    parallel.wait()
    start = time.perf_counter()
    solver.step(iterations)
    parallel.wait()
    trained = zip(solver.net.learnable_params, solver.net.params_lr, strict=True)
    return {"seconds": (time.perf_counter() - start) / iterations, "images": cfg.TRAIN.IMS_PER_BATCH,
            "megabytes": sum(4 * blob.count for blob, rate in trained if rate) / 2**20}


def in_processes(folder: Path, options: argparse.Namespace, count: int) -> dict[str, float]:
    """Run `measure` in `count` processes that share the cores equally; returns the first one's result."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = max(1, len(os.sched_getaffinity(0)) // count)
    common = {**os.environ, "OMP_NUM_THREADS": str(threads), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": str(port)}
    command = [sys.executable, __file__, "--net", options.net, "--iterations", str(options.iterations),
               "--task", str(folder)]
    children = [subprocess.Popen(command, env={**common, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
                for rank in range(count)]
    outputs = [child.communicate()[0] for child in children]
    if any(child.returncode for child in children):
        raise RuntimeError(f"measuring {count} process(es) failed: see the messages above")
    found = json.loads(outputs[0].splitlines()[-1])
    return {**found, "threads": threads, "rate": count * found["images"] / found["seconds"]}


def report(found: dict[int, dict[str, float]], options: argparse.Namespace) -> str:
    """The report as Markdown."""
    rows = [f"| {count} | {row['threads']:.0f} | {row['seconds']:.3f} | {row['rate']:.2f} |"
            for count, row in found.items()]
    alone, together = found[1], found[options.processes]
    return "\n".join([
        f"# Training in {options.processes} processes compared with one: {options.net}, stage 1 RPN, CPU", "",
        "| processes | threads each | s/iteration | images/s |", "|---|---|---|---|", *rows, "",
        f"Throughput is {together['rate'] / alone['rate']:.2f} times that of one process on the same cores. "
        f"Each iteration all-reduces {together['megabytes']:.1f} MB of gradients.", "",
        "```sh", f"python experiments/benchmarks/parallel.py --processes {options.processes} --net {options.net} "
        f"--iterations {options.iterations} --report", "```", ""])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="number of processes (default: 2)")
    parser.add_argument("--net", choices=NETS, default="Tiny", metavar="NET",
                        help=f"one of {', '.join(NETS)} (default: Tiny)")
    parser.add_argument("--iterations", type=int, default=30, metavar="N",
                        help="number of measured iterations (default: 30)")
    add_report_option(parser, HERE / "parallel.md")
    parser.add_argument("--task", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.task:
        print(json.dumps(measure(options.task, options.net, options.iterations)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, options.net)
        text = report({count: in_processes(folder, options, count) for count in (1, options.processes)}, options)
    publish(text, options.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
