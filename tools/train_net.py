#!/usr/bin/env python3
"""Trains one net with one solver: RPN and Fast R-CNN end to end, or either of them alone."""
from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence

import _init_paths  # noqa: F401
from commands.options import (
    add_cfg_options,
    add_device_options,
    add_profile_option,
    add_skip_option,
    add_split_options,
    add_tensorboard_option,
    add_validation_options,
    apply_cfg,
    check_validation_options,
    device_of,
    existing_file,
    make_parser,
    positive,
    positive_number,
    share_of,
    tool,
    use_device,
)
from utils import parallel
from utils.output import lasting_output

EXAMPLES = """\
  tools/train_net.py --solver models/VGG16/faster_rcnn_end2end/solver.pt --iters 70000 \\
      --weights data/imagenet_models/VGG16.v2.caffemodel --cfg experiments/cfgs/faster_rcnn_end2end.yml
  tools/train_net.py ... --resume
      resume from the newest checkpoint; --restart discards the run instead
  torchrun --nproc_per_node 4 tools/train_net.py ...
      on four GPUs: four times as many images per iteration
"""


def parser() -> argparse.ArgumentParser:
    """The tool's options."""
    result = make_parser(__doc__ or "", EXAMPLES)
    add = result.add_argument
    add("--solver", required=True, metavar="FILE", help="solver prototxt")
    length = result.add_mutually_exclusive_group()
    length.add_argument("--iters", type=positive, metavar="N", help="number of iterations (default: 40000)")
    length.add_argument("--max_iters", type=positive, dest="iters", metavar="N", help="same as --iters")
    length.add_argument("--epochs", type=positive_number, metavar="N",
                        help="number of passes over the images and their flipped copies, instead of --iters")
    add("--lr", type=positive_number, metavar="RATE", help="initial learning rate (default: the solver's base_lr)")
    add("--weights", metavar="FILE", help="caffemodel to start from, or none (default: none, random initialisation)")
    add_skip_option(result)
    add("--imdb", default="voc_2007_trainval", metavar="NAME",
        help="name of a data set, or its path: folder[:split]; join several with + (default: voc_2007_trainval)")
    add_split_options(result, "Trains on train")
    add("--proposals", metavar="FILE", help="proposals from tools/rpn_generate.py, for TRAIN.PROPOSAL_METHOD rpn")
    add("--rand", action="store_true", help="draw a random seed instead of using cfg.RNG_SEED")
    group = result.add_mutually_exclusive_group()
    group.add_argument("--resume", action="store_true",
                       help="resume from the newest checkpoint, or continue a finished training with more iterations; "
                            "nets, weights, data and settings must be unchanged")
    group.add_argument("--restart", action="store_true", help="discard the run in the output folder and start over")
    add("--output", metavar="DIR", help="output folder (default: output/<EXP_DIR>/<data set>)")
    add("--features", metavar="DIR",
        help="cache the outputs of frozen layers in this folder, which trainings from the same weights share; outputs "
             "cached from other weights are deleted (default: the folder features in the output folder, deleted at "
             "the end)")
    add_validation_options(result)
    add("--val_net", metavar="FILE",
        help="prototxt of the test net for --val_imdb (default: test.pt next to the train net)")
    add_tensorboard_option(result)
    add_profile_option(result)
    add_device_options(result)
    add_cfg_options(result)
    return result


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status, 130 if interrupted."""
    args = parser().parse_args(argv)
    if share := share_of(args):
        from datasets.factory import with_share
        args.imdb = with_share(args.imdb, share)
    with lasting_output():
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    existing_file(args.solver, "--solver")
    args.weights = None if args.weights == "none" else args.weights
    check_validation_options(args)
    apply_cfg(args)
    use_device(device_of(args))
    parallel.join()
    from commands.net_training import NetTrainingOptions, train_one_net
    return train_one_net(NetTrainingOptions(**{field.name: getattr(args, field.name)
                                               for field in dataclasses.fields(NetTrainingOptions)}))


if __name__ == "__main__":
    sys.exit(main())
