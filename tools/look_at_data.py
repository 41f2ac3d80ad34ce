#!/usr/bin/env python3
"""Compares the sizes of a data set's objects with a net's anchors, and suggests anchors and settings that fit."""
from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import _init_paths  # noqa: F401
from commands.options import (
    add_cfg_options,
    add_split_options,
    apply_cfg,
    make_parser,
    share_of,
    tool,
    writable_folder,
)
from fast_rcnn.config import cfg
from utils.errors import UserError

if TYPE_CHECKING:
    from reports.data_page import DataStudy

EXAMPLES = """\
  tools/look_at_data.py --imdb path/to/BCCD:train --net_name Tiny
      with the default settings for training Tiny
  tools/look_at_data.py --imdb path/to/DeepPCB:trainval --net_name VGG16 --set TRAIN.SCALES "(800,)"
  tools/look_at_data.py --imdb voc_2007_trainval --models my_nets --json > figures.json
      uses the anchors of your own prototxts
  tools/look_at_data.py --imdb path/to/BCCD:train --net_name Tiny --output output/BCCD_data
      also writes a page with pictures, charts and the problems found
  tools/look_at_data.py --imdb path/to/BCCD:train --net_name Tiny --output output/BCCD_data --set TRAIN.CROP 0.4
      the page also shows augmented images
"""


def parser() -> argparse.ArgumentParser:
    """The tool's options."""
    result = make_parser(__doc__ or "", EXAMPLES)
    add = result.add_argument
    add("--imdb", default="voc_2007_trainval", metavar="NAME",
        help="name of a data set, or its path: folder[:split] (default: voc_2007_trainval)")
    add_split_options(result, "Shows train")
    group = result.add_mutually_exclusive_group()
    group.add_argument("--net_name", default="VGG16", metavar="NET",
                       help="net whose anchors are shown: a folder in cfg.MODELS_DIR, by default models (default: "
                            "VGG16)")
    group.add_argument("--models", metavar="DIR", help="show the anchors of your own prototxts in this folder instead")
    add("--json", action="store_true", help="print the figures and the suggested commands as JSON")
    add("--output", metavar="DIR", help="also write a page to this folder: data.html and sheet.png")
    add_cfg_options(result)
    return result


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parser().parse_args(argv)
    if share := share_of(args):
        from datasets.factory import with_share
        args.imdb = with_share(args.imdb, share)
    with contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext():
        text = _look(args)
    print(text, flush=True)
    return 0


def _look(args: argparse.Namespace) -> str:
    from alt_opt.nets import check_net_name
    from alt_opt.setup import cfg_of_net
    from checks.data_advice import study
    from commands.advice import TrainingOptions, advice_commands, anchors_of_folder, net_of_folder
    from commands.data_report import report
    from commands.data_set import find_imdb
    from datasets.objects import ObjectTable
    from reports.data_page import DataStudy
    net_name = net_of_folder(Path(args.models)) if args.models else args.net_name
    options = TrainingOptions(args.imdb, net_name, args.models, args.cfg, args.set_cfgs)
    args.cfg = args.cfg or cfg_of_net(net_name)
    apply_cfg(args)
    if not args.models:
        check_net_name(args.net_name)
    layout, net = anchors_of_folder(Path(args.models) if args.models else Path(cfg.MODELS_DIR, args.net_name))
    imdb = find_imdb(args.imdb)
    objects = ObjectTable.from_roidb(imdb.gt_roidb(), imdb.image_sizes())
    if not len(objects):
        raise UserError(f"--imdb {args.imdb}: no image has an object to train on")
    figures = study(objects, imdb.classes, layout, cfg)
    commands = advice_commands(figures, imdb.num_classes, options, net, f"output/nets/{imdb.name}")
    scales = f"TRAIN.SCALES {list(cfg.TRAIN.SCALES)}, TRAIN.MAX_SIZE {cfg.TRAIN.MAX_SIZE}"
    if args.output:
        _write_page(args.output, DataStudy(imdb, objects, figures, cfg, scales, net_name or str(net), commands))
    if args.json:
        return json.dumps({"data set": imdb.name, "net": str(net), **asdict(figures), "commands": commands}, indent=1)
    return report(figures, imdb, net_name or str(net), commands, scales)


def _write_page(output: str, study: DataStudy) -> None:
    from reports.data_page import PAGE, SHEET, write_data_page
    from reports.page import check_page
    from utils.own_files import OwnFiles
    folder = writable_folder(output, "--output")
    check_page(folder / PAGE)
    OwnFiles(folder).claim(SHEET)
    write_data_page(folder, study)
    print(f"Page: {folder / PAGE}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
