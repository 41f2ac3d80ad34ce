#!/usr/bin/env python3
"""Speed of training and detection on a GPU: VGG16 at 600x1000, compared with torchvision and the hardware's limits.

    python experiments/benchmarks/gpu.py

measures in float32, tf32 and bfloat16, each row in a separate process: the four training stages with hard example
mining, whose data layer reads JPEG files, and proposals and detection for images in memory. Images and weights are
random. It prints the tables and writes gpu.md next to this program. To try the program out without a GPU:

    python experiments/benchmarks/gpu.py --cpu --net Tiny --size 96 128 --rois 60 --workers 0 --iterations 2 --warm_up 1
"""
from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vgg16_parts.job import IMAGES_A_STEP, PRECISIONS, Job, Missing, measured, use_device
from vgg16_parts.report import Results, report

from measuring import positive
from net_definitions import NETS

HERE = Path(__file__).resolve().parent


def measure(job: Job, precisions: Sequence[str] = PRECISIONS) -> dict[str, Any]:
    """Run one job in this process; returns its result, or {"missing": reason} if it cannot run here."""
    try:
        use_device(job)
        if job.side == "rates":
            from vgg16_parts.floor import rates
            return rates(precisions, job.cpu)
        from vgg16_parts import ours, peer
        return (ours if job.side == "ours" else peer).measure(job)
    except Missing as missing:
        return {"missing": str(missing)}


def run(args: argparse.Namespace) -> str:
    """Measure every row that has no stored result; returns the report. Report and results are written after each row.
    """
    def job(side: str, row: str, precision: str) -> Job:
        return Job(side, row, precision, **settings, warm_up=args.warm_up, cpu=args.cpu)

    settings = {"net": args.net, "height": args.size[0], "width": args.size[1], "rois": args.rois,
                "workers": args.workers, "iterations": args.iterations}
    results = kept_results(args.keep, settings)
    results.rates = results.rates or measured(__file__, job("rates", args.rows[0], args.precisions[0]))
    for precision in args.precisions:
        for row in args.rows:
            for side in ("ours", "torchvision"):
                if (side, row, precision) not in results.found:
                    results.found[side, row, precision] = measured(__file__, job(side, row, precision))
            print(results.line(row, precision), flush=True)
            if args.keep:
                results.save(args.keep)
            if args.report:
                args.report.write_text(report(results, args.command), encoding="utf-8")
    return report(results, args.command)


def kept_results(path: Path | None, settings: dict[str, Any]) -> Results:
    """The results that an earlier run with the same settings stored in `path`; empty if there are none."""
    if path and path.exists():
        kept = Results.load(path)
        if kept.settings == settings:
            return kept
        print(f"gpu.py: {path} is of a run with other settings, {kept.settings}: replacing it", file=sys.stderr)
    return Results(settings, {})


def parser() -> argparse.ArgumentParser:
    """The program's options."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = result.add_argument
    add("--net", choices=NETS, default="VGG16", metavar="NET",
        help=f"one of {', '.join(NETS)} (default: VGG16; torchvision is measured for it only)")
    add("--size", type=positive, nargs=2, default=[600, 1000], metavar=("HEIGHT", "WIDTH"),
        help="of the images, in pixels (default: 600 1000)")
    add("--rois", type=positive, default=2000, metavar="N", help="proposals per image (default: 2000)")
    add("--workers", type=int, default=8, metavar="N", help="worker processes that read images (default: 8)")
    add("--iterations", type=positive, default=30, metavar="N", help="number of measured steps (default: 30)")
    add("--warm_up", type=int, default=16, metavar="N",
        help="number of warm-up steps; 8 see every image once (default: 16)")
    add("--rows", nargs="+", choices=IMAGES_A_STEP, default=list(IMAGES_A_STEP), metavar="ROW",
        help=f"what to measure (default: all of {' '.join(IMAGES_A_STEP)})")
    add("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), metavar="PRECISION",
        help=f"some of {' '.join(PRECISIONS)} (default: all)")
    add("--report", type=Path, metavar="FILE",
        help="report to write (default: gpu.md next to this program; none with --cpu)")
    add("--keep", type=Path, metavar="FILE", help="JSON file to store results in; results found there are not measured "
                                                  "again, so runs with other --precisions or --rows share one report")
    add("--cpu", action="store_true", help="run on the CPU, to try the program out; the figures are meaningless")
    add("--job", type=json.loads, help=argparse.SUPPRESS)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark, or a part of it with --job; returns the exit status."""
    args = parser().parse_args(argv)
    if args.job:
        print(json.dumps(measure(Job(**args.job))))
        return 0
    import caffe
    if not (args.cpu or caffe.has_gpu()):
        print("gpu.py: PyTorch sees no CUDA GPU here; --cpu runs on the CPU, to try the program out", file=sys.stderr)
        return 2
    args.report = args.report or (None if args.cpu else HERE / "gpu.md")
    args.command = shlex.join(["python", "experiments/benchmarks/gpu.py", *(sys.argv[1:] if argv is None else argv)])
    print(run(args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
