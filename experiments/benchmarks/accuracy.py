#!/usr/bin/env python3
"""Accuracy of the main job, and of end-to-end training: from ImageNet weights to a detector, by the tools themselves.

    python experiments/benchmarks/accuracy.py DeepPCB voc2012_animals BCCD
    python experiments/benchmarks/accuracy.py DeepPCB --nets SqueezeNet --seeds 3 --choose

trains on `trainval`, tests on `test` and, after each run, writes accuracy.md next to this program: COCO's average
precisions and the training time of every run, published results, goals, the time to reach each AP50, curves and
pictures. Recipes and goals are in accuracy_parts/recipes.py. The peers of voc2012_animals start from the same weights:
torchvision's Faster R-CNN, which sees as many images (pip install torchvision), and this project's SSD300.

--choose is for tuning recipes: it trains on three quarters of `trainval`, tests on the rest and never reads `test`.

Finished runs of unchanged recipes are not repeated; an interrupted run resumes.
"""
from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from accuracy_parts.data import SHARED_DATA, choosing_split, find_data_set, published_split, shared_data
from accuracy_parts.recipes import BFLOAT16, DATA_SETS
from accuracy_parts.report import write_report
from accuracy_parts.runs import POINTS, Run, finished_runs, make_run
from accuracy_parts.trainings import do
from commands.options import positive, tool, writable_folder
from utils.errors import UserError
from utils.other_caffe import has_bfloat16

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def chosen_nets(name: str, wanted: Sequence[str] | None) -> list[str]:
    """The wanted nets among those of a data set; None: all of them."""
    return [net for net in DATA_SETS[name].nets if wanted is None or net in wanted]


def check_inputs(runs: Sequence[Run]) -> None:
    """Raise UserError, before anything is trained, if something is missing that the unfinished runs need.

    That is: initial weights; torchvision, for its peers; bfloat16 instructions, since emulated runs take days.
    """
    todo = [run for run in runs if run.result() is None]
    missing = sorted({str(run.initial_weights) for run in todo if run.initial_weights
                      and not run.initial_weights.is_file()})
    if missing:
        raise UserError(f"weights are missing: {', '.join(missing)}; --weights DIR names their folder")
    peers = sorted({run.net for run in todo if run.peer and run.peer.needs_torchvision})
    if peers and importlib.util.find_spec("torchvision") is None:
        raise UserError(f"{', '.join(peers)} needs torchvision, which is not installed: pip install torchvision, or "
                        "leave it out with --nets")
    low = sorted({run.net for run in todo if run.net.endswith(BFLOAT16)})
    if low and has_bfloat16() is False:
        raise UserError(f"{', '.join(low)}: this processor has no bfloat16 instructions (such as AVX512-BF16 or AMX); "
                        "leave it out with --nets")


def make_parser() -> argparse.ArgumentParser:
    """The program's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, nets = parser.add_argument, dict.fromkeys(net for data_set in DATA_SETS.values() for net in data_set.nets)
    add("data_sets", nargs="+", metavar="DATASET", help=f"name or path; one of {', '.join(DATA_SETS)}")
    add("--nets", nargs="+", choices=nets, metavar="NET", help=f"some of {', '.join(nets)} (default: all)")
    add("--seeds", type=int, nargs="+", default=[3, 4, 5], metavar="N", help="random seeds (default: 3 4 5)")
    add("--points", type=positive, default=POINTS, metavar="N", help="tests during a training of one stage, the last "
                                                                     f"at its end (default: {POINTS})")
    add("--choose", action="store_true", help="tune recipes: train and test on parts of trainval")
    add("--weights", type=Path, metavar="DIR", help=f"folder of initial weights (default: imagenet in {SHARED_DATA})")
    add("--output", type=Path, default=ROOT / "output" / "accuracy", metavar="DIR",
        help="folder of the runs (default: output/accuracy)")
    add("--report", type=Path, metavar="FILE", help="report to write (default: accuracy.md next to this program; with "
                                                    "--choose, in the folder of the runs)")
    return parser


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    args = make_parser().parse_args(argv)
    shared = shared_data(ROOT)
    weights = (args.weights or shared / "imagenet").resolve()
    output = writable_folder(args.output / "choose" if args.choose else args.output, "--output").resolve()
    report = args.report or (output if args.choose else HERE) / "accuracy.md"
    found = [find_data_set(given, DATA_SETS, shared) for given in args.data_sets]
    splits = [choosing_split(name, path, output / name) if args.choose else published_split(name, path)
              for name, path in found]
    runs = [make_run(DATA_SETS, split, net, seed, weights, output, args.points) for split in splits
            for net in chosen_nets(split.name, args.nets) for seed in args.seeds]
    check_inputs(runs)
    for run in runs:
        do(run)
        write_report(report, DATA_SETS, finished_runs(DATA_SETS, weights, output), args.choose)
    print(report.read_text(encoding="utf-8") if runs else "None of these nets has a recipe for these data sets")
    return 0


if __name__ == "__main__":
    sys.exit(main())
