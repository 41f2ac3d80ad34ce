#!/usr/bin/env python3
"""Speed of training and detection on a CPU: VGG16 at 600x800, compared with plain PyTorch in the same run.

    python experiments/benchmarks/cpu.py --report

measures each row of the table below in separate processes: ours in float32 and in bfloat16, and the same step in plain
PyTorch (eager, NCHW, float32, autograd; vgg16_parts/plain.py). Prints the result of each process, then seconds, ratios
and peak memory; --report writes cpu.md next to this program.

Real Caffe does not run here. Its seconds below were measured on another machine, along with those of plain PyTorch's
trunk, forward, and forward and backward; they are scaled to this machine by the speed of plain PyTorch's trunk.
"""
from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vgg16_parts.job import Job, Missing, measured, use_device
from vgg16_parts.pieces import PIECES

from measuring import add_report_option, positive, processor, publish

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Row:
    """A measured step; `caffe` is real Caffe's time in seconds, `goal` the speed-up over it that we aim for."""

    name: str
    title: str
    caffe: float
    goal: float
    goal_bfloat16: float | None = None
    batch: int = 1


ROWS = (
    Row("trunk_forward", "trunk, forward", 2.6, 1.6, 3.4),
    Row("trunk_forward_backward", "trunk, forward and backward, conv1-2 frozen", 5.1, 1.5, 3.0),
    Row("stage1_rpn", "stage 1 RPN, 1 image", 5.5, 1.6, 3.3),
    Row("stage1_fast_rcnn", "stage 1 Fast R-CNN with OHEM, 1 image", 10.1, 1.5, 3.0),
    Row("stage1_fast_rcnn", "stage 1 Fast R-CNN with OHEM, 2 images", 19.4, 1.5, 3.0, batch=2),
    Row("stage2_rpn", "stage 2 RPN", 2.6, 10.0, 12.0),
    Row("stage2_fast_rcnn", "stage 2 Fast R-CNN with OHEM, 1 image", 7.3, 2.3, 4.5),
    Row("stage2_fast_rcnn", "stage 2 Fast R-CNN with OHEM, 2 images", 15.3, 2.3, 4.5, batch=2),
    Row("roi_pooling", "RoI pooling, forward", 1.2, 10.0),
    Row("ohem", "OHEM layer", 0.018, 5.0),
    Row("proposals", "proposals for one image", 3.4, 1.8, 3.5),
    Row("proposal_layer", "of it, the proposal layer", 0.47, 10.0),
    Row("detection", "detection of one image, 300 proposals", 3.6, 1.8, 3.5),
    Row("snapshot", "snapshot of the OHEM net", 6.5, 5.0),
)
PLAIN_THERE = {"trunk, forward": 1.95,         # seconds of plain PyTorch where real Caffe was measured
               "trunk, forward and backward, conv1-2 frozen": 4.0}
SIDES = (("ours", "float32"), ("ours", "bfloat16"), ("plain", "float32"))


def measure(job: Job) -> dict[str, Any]:
    """Run a job in this process; returns its seconds per step and peak memory in MB."""
    from vgg16_parts import ours, pieces, plain
    from vgg16_parts.job import seconds_a_step

    import caffe
    use_device(job)
    try:
        if job.row in PIECES:
            ours.set_precision(job.precision)
            with tempfile.TemporaryDirectory() as folder:
                seconds = seconds_a_step(pieces.make_step(job, Path(folder)), job)
            return {"seconds": seconds, "peak_mb": caffe.peak_memory_mb()}
        return plain.measure(job) if job.side == "plain" else ours.measure(job)
    except Missing as missing:
        return {"missing": str(missing)}


def run(args: argparse.Namespace) -> str:
    """Measure the selected rows; returns the report."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    height, width = args.size
    for row in (row for row in ROWS if not args.rows or row.name in args.rows):
        warm_up = 9 if row.name.startswith("stage2") else 3         # the first eight steps cache every image's features
        for side, precision in SIDES:
            if precision == "bfloat16" and row.goal_bfloat16 is None:
                continue
            job = Job(side, row.name, precision, "VGG16", height, width, args.rois, 2, args.iterations, warm_up,
                      True, row.batch)
            found[row.title, side, precision] = measured(__file__, job)
            print(row.title, side, precision, found[row.title, side, precision], file=sys.stderr, flush=True)
    return report(found, args)


def report(found: dict[tuple[str, str, str], dict[str, Any]], args: argparse.Namespace) -> str:
    """The report as Markdown; what could not be measured is listed below the table."""
    done = {key: result for key, result in found.items() if "missing" not in result}
    speed = _seconds_for_one_there(done)
    lines = [f"# VGG16 on a CPU, {args.size[0]} x {args.size[1]} pixels, {args.rois} RoIs per image", "",
             f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end. Seconds per step. "
             "Ratios are speed-ups over plain PyTorch (eager, NCHW, float32) in the same run; those over Caffe are "
             "estimates. Memory is the peak of the process in GB.", "",
             "| step | plain | ours | ratio | to Caffe (goal) | bfloat16 | ratio | to Caffe (goal) | memory plain, "
             "ours, bfloat16 |", "|---|---|---|---|---|---|---|---|---|"]
    for row in ROWS:
        ours, low, plain = (done.get((row.title, *side)) for side in SIDES)
        if ours or low or plain:
            lines.append(_line(row, ours, low, plain, speed))
    missing = [f"* {title}, {side} in {precision}: {result['missing']}"
               for (title, side, precision), result in found.items() if "missing" in result]
    lines += ["", *(["Not measured:", "", *missing, ""] if missing else []),
              f"Elsewhere (2 AVX512 cores, OpenBLAS) real Caffe took {ROWS[0].caffe} and {ROWS[1].caffe} s for the "
              "trunk, forward, and forward and backward; plain PyTorch took "
              f"{' and '.join(map(str, PLAIN_THERE.values()))} s there. Caffe's seconds here are estimated as those "
              "times "
              + (f"{speed:.2f}, the ratio of plain PyTorch's trunks." if speed else "the ratio of the trunks."),
              "Stage 2 is measured after every image was seen once: its trunk is frozen, and its features are cached. "
              "Plain PyTorch's snapshot is torch.save of the detector's weights.", "", "Command:", "", "```sh",
              args.command, "```", ""]
    return "\n".join(lines)


def _seconds_for_one_there(done: dict[tuple[str, str, str], dict[str, Any]]) -> float | None:
    """Seconds here for one second where Caffe was measured, from plain PyTorch's trunks; None if not measured."""
    here = {title: done[title, "plain", "float32"]["seconds"]
            for title in PLAIN_THERE if (title, "plain", "float32") in done}
    return sum(here.values()) / sum(PLAIN_THERE[title] for title in here) if here else None


def _line(row: Row, ours: dict[str, Any] | None, low: dict[str, Any] | None, plain: dict[str, Any] | None,
          speed: float | None) -> str:
    def side(result: dict[str, Any] | None, goal: float | None) -> list[str]:
        if not result or goal is None:
            return ["", "", ""]
        seconds = result["seconds"]
        return [_short(seconds), f"{plain['seconds'] / seconds:.1f}" if plain else "",
                f"{row.caffe * speed / seconds:.1f} ({goal:g})" if speed else f"({goal:g})"]
    memory = ", ".join(f"{result['peak_mb'] / 1024:.1f}" for result in (plain, ours, low) if result)
    columns = [row.title, _short(plain["seconds"]) if plain else "", *side(ours, row.goal),
               *side(low, row.goal_bfloat16), memory]
    return f"| {' | '.join(columns)} |"


def _short(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds >= 0.1 else f"{seconds:.4f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark, or a part of it with --job; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--size", type=positive, nargs=2, default=[600, 800], metavar=("HEIGHT", "WIDTH"),
        help="of the images, in pixels (default: 600 800)")
    add("--rois", type=positive, default=2010, metavar="N", help="proposals per image (default: 2010)")
    add("--iterations", type=positive, default=3, metavar="N", help="number of measured steps (default: 3)")
    add("--rows", nargs="+", choices=sorted({row.name for row in ROWS}), metavar="ROW",
        help="what to measure (default: all)")
    add_report_option(parser, HERE / "cpu.md")
    add("--job", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.job:
        print(json.dumps(measure(Job(**args.job))))
        return 0
    args.command = " ".join(["python experiments/benchmarks/cpu.py", *(sys.argv[1:] if argv is None else argv)])
    text = run(args)
    publish(text, args.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
