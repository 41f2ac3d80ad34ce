#!/usr/bin/env python3
"""Trains Faster R-CNN with online hard example mining (OHEM) by alternating optimisation, in four stages."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import _init_paths  # noqa: F401
from commands.options import (
    OneForAll,
    add_cfg_options,
    add_device_options,
    add_net_options,
    add_profile_option,
    add_skip_option,
    add_split_options,
    add_tensorboard_option,
    add_validation_options,
    make_parser,
    positive,
    positive_number,
    share_of,
    tool,
)

if TYPE_CHECKING:
    from alt_opt.plan import Run

EXAMPLES = """\
  tools/train_faster_rcnn_alt_opt.py --net_name VGG16
      VOC 2007 trainval, ImageNet weights, the original schedule
  tools/train_faster_rcnn_alt_opt.py --net_name Tiny --imdb path/to/BCCD:train --max_iters 800 400 800 400
      a custom data set; the nets are generated for its classes
  tools/train_faster_rcnn_alt_opt.py --net_name SqueezeNet --imdb path/to/PCB:trainval --anchor_scales 1 2 4 --fc6 256
      anchors for small objects and a smaller head
  tools/train_faster_rcnn_alt_opt.py --net_name VGG16 --resume
      resumes an interrupted run
  torchrun --nproc_per_node 4 tools/train_faster_rcnn_alt_opt.py --net_name VGG16
      on four GPUs: four times as many images per iteration
"""


def parser() -> argparse.ArgumentParser:
    """The tool's options."""
    result = make_parser(__doc__ or "", EXAMPLES)
    add = result.add_argument
    add("--net_name", default="VGG16", metavar="NET",
        help="name of the net: a folder in cfg.MODELS_DIR, by default models (default: VGG16)")
    add("--weights", metavar="FILE",
        help="caffemodel that stage 1 starts from, or none for random initialisation (default: "
             "imagenet_models/<NET>.v2.caffemodel in cfg.DATA_DIR, by default data; none for Tiny)")
    add_skip_option(result)
    add("--imdb", default="voc_2007_trainval", metavar="NAME",
        help="name of a data set, or its path: folder[:split] (default: voc_2007_trainval)")
    add_validation_options(result)
    add("--test_imdb", metavar="NAME", help="data set to test the trained detector on")
    add_split_options(result, "Trains on train; without --test_imdb it tests on test")
    add("--models", metavar="DIR", help="folder of your own prototxts, used unchanged")
    add_net_options(result)
    add("--no_ohem", action="store_true",
        help="train on random RoIs instead of hard ones; same as TRAIN.USE_OHEM False")
    length = result.add_mutually_exclusive_group()
    length.add_argument("--max_iters", type=positive, nargs="+", action=OneForAll, metavar="N",
                        help="iterations of the four stages, or one number for all (default: the solvers'; for VGG16 "
                             "80000 40000 80000 40000)")
    length.add_argument("--epochs", type=positive_number, nargs="+", action=OneForAll, metavar="N",
                        help="number of passes over the images and their flipped copies, instead of --max_iters: four "
                             "numbers, or one for all stages")
    add("--lr", type=positive_number, nargs="+", action=OneForAll, metavar="RATE",
        help="initial learning rates of the four stages, or one for all (default: the solvers' base_lr)")
    add("--output", metavar="DIR", help="output folder (default: output/<EXP_DIR>/<data set>/<NET>; EXP_DIR is "
                                        "faster_rcnn_alt_opt, for Tiny tiny, unless the settings change it; _no_ohem "
                                        "is appended without hard example mining)")
    add("--seed", type=int, help="random seed (default: cfg.RNG_SEED, 3)")
    group = result.add_mutually_exclusive_group()
    group.add_argument("--resume", action="store_true", help="resume the run in the output folder")
    group.add_argument("--restart", action="store_true", help="discard the run in the output folder and start over")
    add_tensorboard_option(result)
    add_profile_option(result)
    add_device_options(result)
    add_cfg_options(result)
    return result


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status: 0, 1 if a stage died, 2 for a user error, 130 if interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--run-step"]:
        from alt_opt.step import run_job
        return run_job(words[1:])
    from utils.output import lasting_output
    args = parser().parse_args(words)
    if share := share_of(args):
        from datasets.factory import with_share
        args.test_imdb = args.test_imdb or with_share(args.imdb, share, rest=True)
        args.imdb = with_share(args.imdb, share)
    with lasting_output():
        return _train_and_test(args)


def _train_and_test(args: argparse.Namespace) -> int:
    from utils import parallel
    from utils.child_process import ChildDied, terminations_as_interrupts
    parallel.join()
    try:
        with terminations_as_interrupts():
            run = _train(args)
    except ChildDied as error:
        print(f"\n{error}\nOnce the cause is fixed, the same command with --resume continues.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if parallel.is_first():
            print("\nStopped. The same command with --resume continues.", file=sys.stderr)
        return 130
    return _test(run, args) if run and args.test_imdb else 0


def _train(args: argparse.Namespace) -> Run | None:
    """The finished run; None in all processes but the first."""
    from alt_opt import team
    from alt_opt.driver import train_alt_opt
    from alt_opt.setup import make_run, step_command
    from commands.next_steps import next_steps
    from datasets.factory import unseen_part_of
    from utils import parallel
    if not parallel.is_first():
        team.follow(step_command())
        return None
    with team.leading():
        run = make_run(args)
        print(f"Output: {run.output}", flush=True)
        final = train_alt_opt(run, args.restart)
    print(f"Final model: {final}\nTest net: {run.output / run.nets.detector_test.name}", flush=True)
    print(next_steps(["--run", str(run.output)], tested=bool(args.test_imdb),
                     test_set=unseen_part_of(args.imdb)), flush=True)
    return run


def _test(run: Run, args: argparse.Namespace) -> int:
    import test_net

    from fast_rcnn.config import set_cfg
    set_cfg(run.settings["stage2_fast_rcnn"])       # no step has set it if all were finished already
    device = ["--cpu"] if run.gpu_id is None else ["--gpu", str(run.gpu_id)]
    return test_net.main(["--run", str(run.output), "--imdb", args.test_imdb, *device,
                          *(["--profile"] if args.profile else [])])


if __name__ == "__main__":
    sys.exit(main())
