"""Puts a run of alternating optimisation together from the options of the command line, and checks it."""
from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from fast_rcnn import parallel
from fast_rcnn.alt_opt import Run, check_run, step_settings
from fast_rcnn.alt_opt_nets import check_net_name, find_nets
from fast_rcnn.cli import choose_device
from fast_rcnn.config import cfg, cfg_from_file, cfg_from_list, get_output_dir, reset_cfg
from fast_rcnn.data_set import load_inputs
from fast_rcnn.fingerprints import data_digest

ROOT = Path(__file__).resolve().parents[2]


def make_run(args: Namespace) -> Run:
    """A run that is ready to start. Raises one error for everything that is missing or does not fit."""
    ohem = not args.no_ohem
    if args.models is None:
        check_net_name(args.net_name)
    if args.cfg is None and args.net_name == "Tiny":
        args.cfg = str(ROOT / "experiments" / "cfgs" / "tiny.yml")
        print(f"Settings: {args.cfg}, made for the net Tiny (--cfg FILE for others)", flush=True)
    settings = step_settings(args.cfg, args.set_cfgs, ohem, args.seed)
    _apply_user_settings(args)
    weights = initial_weights(args.net_name, args.weights)
    imdb = load_inputs(args.imdb, weights, args.test_imdb)      # better found missing now than after the training
    output = Path(args.output or get_output_dir(imdb, args.net_name)).resolve()
    nets = find_nets(args.net_name, imdb.num_classes, ohem, args.models, ROOT / "models", output / "models",
                     args.max_iters)
    run = Run(nets=nets, weights=weights, imdb_name=args.imdb, data_digest=data_digest(imdb),
              classes=imdb.classes, settings=settings, gpu_id=choose_device(args), output=output,
              command=step_command(), processes=parallel.count(), profile=args.profile)
    check_run(run)
    return run


def step_command() -> list[str]:
    """How a step is started in a process of its own; the path of its job file follows."""
    return [sys.executable, str(ROOT / "tools" / "train_faster_rcnn_alt_opt.py"), "--run-step"]


def initial_weights(net_name: str, given: str | None) -> Path | None:
    """Path of the weights to begin with; None for random ones, which are the default of the net Tiny only."""
    if given == "none" or (given is None and net_name == "Tiny"):
        return None
    return Path(given) if given else ROOT / "data" / "imagenet_models" / f"{net_name}.v2.caffemodel"


def _apply_user_settings(args: Namespace) -> None:
    """Let cfg say where data and output are; EXP_DIR is faster_rcnn_alt_opt[_no_ohem] unless the user sets it."""
    reset_cfg()
    cfg.EXP_DIR = "faster_rcnn_alt_opt" + ("_no_ohem" if args.no_ohem else "")
    if args.cfg:
        cfg_from_file(args.cfg)
    cfg_from_list(args.set_cfgs)
