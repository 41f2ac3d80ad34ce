#!/usr/bin/env python3
"""The benefit of hard example mining: trains Fast R-CNN under several conditions, paired over seeds.

    python experiments/benchmarks/ohem_study.py path/to/voc2012_animals path/to/DeepPCB \\
        --weights path/to/squeezenet_v1.1.caffemodel

The RPN is trained, and its proposals are generated, once for each data set; then Fast R-CNN is trained and tested for
every condition (an entry of study/conditions.py) and seed. It trains on three quarters of `trainval` and tests on the
rest; --final trains on `trainval` and tests on `test`. In the conditions named joint, the RPN is trained in the same
net, end to end. Writes ohem_study.md, and a plot for each data set, next to this program. Finished runs in the output
folder are not repeated; an interrupted run resumes.
"""
from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(HERE)]
import _init_paths  # noqa: E402, F401
from alt_opt.nets import check_net_name  # noqa: E402
from alt_opt.setup import initial_weights  # noqa: E402
from commands.options import (  # noqa: E402
    add_cfg_options,
    add_device_options,
    add_net_options,
    existing_file,
    net_sizes,
    positive,
    positive_number,
    tool,
    writable_folder,
)
from fast_rcnn.config import file_changes, pair_changes  # noqa: E402
from net_definitions import USUAL  # noqa: E402
from study.conditions import CONDITIONS, MISSING, comparisons, usual  # noqa: E402
from study.data_sets import DataSets, make_data_sets  # noqa: E402
from study.report import Results, plot_differences, report  # noqa: E402
from study.runs import Task, first_stage, run  # noqa: E402
from utils.child_process import ChildDied, terminations_as_interrupts  # noqa: E402
from utils.errors import UserError  # noqa: E402
from utils.files import write_text  # noqa: E402
from utils.folder_lock import FolderLock  # noqa: E402
from utils.other_caffe import clear_features  # noqa: E402


def parser() -> argparse.ArgumentParser:
    """The program's options."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = result.add_argument
    add("data", type=Path, nargs="+", metavar="DATASET", help="folder of a data set in VOC's layout")
    add("--net", default="SqueezeNet", metavar="NET", help="name of the net (default: SqueezeNet)")
    add("--weights", metavar="FILE", help="caffemodel that both stages start from, or none (default: as for "
                                          "tools/train_faster_rcnn_alt_opt.py)")
    add("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], metavar="N",
        help="random seeds of Fast R-CNN (default: 1 2 3 4 5)")
    add("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS), metavar="NAME",
        help=f"some of {', '.join(CONDITIONS)} (default: all)")
    add("--max_iters", type=positive, nargs=2, default=[1500, 1500], metavar=("RPN", "FRCN"),
        help="iterations of the RPN, and of each Fast R-CNN or end-to-end training (default: 1500 1500)")
    add("--lr", type=positive_number, nargs=2, metavar=("RPN", "FRCN"),
        help="initial learning rates of the RPN and of Fast R-CNN; they drop to a tenth after three quarters of the "
             "iterations (default: as in accuracy.py, else the net's own)")
    add("--final", action="store_true", help="train on trainval and test on test, in a separate folder")
    add("--output", type=Path, default=ROOT / "output" / "ohem_study", metavar="DIR",
        help="folder of the runs (default: output/ohem_study)")
    add("--report", type=Path, default=HERE / "ohem_study.md", metavar="FILE",
        help="report to write (default: ohem_study.md next to this program)")
    add_net_options(result)
    add_device_options(result)
    add_cfg_options(result)
    return result


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the study; returns the exit status: 1 if a tool died, 2 for a user error, 130 if interrupted."""
    args = parser().parse_args(argv)
    command = shlex.join(["python", "experiments/benchmarks/ohem_study.py", *(sys.argv[1:] if argv is None else argv)])
    try:
        with terminations_as_interrupts():
            study(args, command)
    except ChildDied as error:
        print(f"\n{error}\nOnce the cause is fixed, the same command resumes.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command resumes.", file=sys.stderr)
        return 130
    print(args.report.read_text(encoding="utf-8"))
    return 0


def study(args: argparse.Namespace, command: str) -> None:
    """Do all runs; the report is written after each.

    Raises UserError, before anything is trained, for invalid options and for an output folder that is in use.
    """
    weights = _initial_weights(args)
    names = [path.resolve().name for path in args.data]
    if len(set(names)) < len(names):
        raise UserError(f"{', '.join(map(str, args.data))}: two data sets have the same name; study them one at a "
                        "time, each with its own --output and --report")
    with contextlib.ExitStack() as locks:
        for path in args.data:
            locks.enter_context(FolderLock(writable_folder(_folder(args, path.resolve()), "--output")))
        results: list[Results] = []
        for task in [make_task(args, path.resolve(), weights) for path in args.data]:
            results.append(Results(task.folder.name, setup(task)))
            first = first_stage(task)
            for seed in args.seeds:
                for name in args.conditions:
                    results[-1].runs[name, seed] = run(task, name, CONDITIONS[name], seed, first)
                    write_report(results, command, args.report)
            clear_features(task.features)


def _folder(args: argparse.Namespace, source: Path) -> Path:
    """Output folder of a data set; --final has its own."""
    return (args.output / f"{source.name}{'_final' if args.final else ''}").resolve()


def _initial_weights(args: argparse.Namespace) -> Path | None:
    check_net_name(args.net)
    weights = initial_weights(args.net, args.weights)
    return Path(existing_file(str(weights), "--weights")).resolve() if weights else None


def make_task(args: argparse.Namespace, source: Path, weights: Path | None) -> Task:
    """The task for a data set, whose descriptions it writes. Raises UserError for invalid settings or data."""
    folder = _folder(args, source)
    known, given = usual(source.name, args.net), net_sizes(args)
    changes = {**known.settings, **(file_changes(args.cfg) if args.cfg else {}), **pair_changes(args.set_cfgs)}
    device = ["--cpu"] if args.cpu else [] if args.gpu is None else ["--gpu", str(args.gpu)]
    return Task(make_data_sets(source, folder / "data", args.final, MISSING), folder, args.net, weights, changes,
                known.sizes if given == USUAL else given, tuple(args.max_iters),
                tuple(args.lr) if args.lr else known.rates, device)


def setup(task: Task) -> str:
    """A sentence for the report: how the runs on a data set were made."""
    data: DataSets = task.data
    sizes = ", ".join(f"{name} {value}" for name, value in task.sizes._asdict().items() if value is not None)
    settings = ", ".join(f"{key} {value}" for key, value in task.settings.items())
    return (f"{task.net}, {data.num_train} photographs to train on and {data.num_test} to test on; "
            f"{task.iterations[0]} iterations of the RPN, {task.iterations[1]} of Fast R-CNN"
            f"{', learning rates {:g} and {:g}'.format(*task.rates) if task.rates else ''}; {data.removed} of "
            f"{data.num_boxes} boxes are removed in conditions with missing boxes. {sizes or 'Default sizes'}; "
            f"{settings or 'default settings'}.")


def write_report(results: Sequence[Results], command: str, path: Path) -> None:
    """Write the report and, next to it, the plot of each data set."""
    def picture(name: str) -> str:
        return f"{path.stem}_{name}.png"

    for found in results:
        if comparisons(found.conditions()):
            plot_differences(found, path.with_name(picture(found.name)))
    write_text(path, report(results, command, picture))


if __name__ == "__main__":
    sys.exit(main())
