#!/usr/bin/env python3
"""Generates the prototxts of our nets, for any number of classes and any anchors.

The nets are defined in lib/net_definitions/nets.py.
"""
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import _init_paths
from commands.options import add_net_options, make_parser, net_sizes, tool, writable_folder
from net_definitions import NETS, SHIPPED_CLASSES, SSD, USUAL, Sizes, is_shipped, model_files, ssd_files
from net_definitions.ssd_data import read_ssd_data
from net_definitions.written import write_files
from utils.errors import UserError
from utils.files import write_text

EXAMPLES = """\
  tools/make_models.py
      rewrites models/
  tools/make_models.py --net VGG16 --classes 4 --scales 2 4 8 --fc6 1024 --fc7 1024 --out my_models
      writes faster_rcnn_alt_opt, faster_rcnn_alt_opt_no_ohem, faster_rcnn_end2end and faster_rcnn_end2end_ohem in
      my_models/VGG16
  tools/make_models.py --net SSD300 --data DIR --out my_models
      SSD, for the databases written by tools/convert_data.py --to ssd
"""
MODELS = _init_paths.ROOT / "models"


def make_models(net: str, num_classes: int = SHIPPED_CLASSES, sizes: Sizes = USUAL,
                out_dir: str | os.PathLike | None = None) -> list[Path]:
    """Write every file of a net into `out_dir`/<net>/<method>/ and return their paths.

    num_classes  including the background
    sizes        anchors and widths of fc6 and fc7; default: the net's own
    out_dir      None: models/, with only the shipped files
    The solvers refer to their nets by paths relative to the project's root, or by absolute ones outside of it. Files
    in `out_dir` that were edited are kept. Raises ValueError for an unknown net or impossible sizes, and if an edited
    file would be replaced by another one.
    """
    out = Path(out_dir or MODELS).resolve()
    folder = out.relative_to(_init_paths.ROOT) if out.is_relative_to(_init_paths.ROOT) else out
    files = model_files(net, num_classes, sizes, folder.as_posix())
    if out_dir is None:     # the repository keeps them
        return [write_text(MODELS / name, text) for name, text in files.items() if is_shipped(name)]
    return write_files(files, out)


def make_ssd(data: str | os.PathLike, out_dir: str | os.PathLike) -> list[Path]:
    """Write SSD's nets and solver into `out_dir`/SSD300/ssd/ and return their paths; edited files are kept.

    Raises UserError for bad data.
    """
    out = Path(out_dir).resolve()
    return write_files(ssd_files(read_ssd_data(data), out.as_posix()), out)


def parser() -> argparse.ArgumentParser:
    """The tool's options."""
    result = make_parser(__doc__ or "", EXAMPLES)
    add = result.add_argument
    add("--net", choices=[*NETS, SSD], help=f"generate this net only (default: all but {SSD})")
    add("--data", metavar="DIR",
        help=f"for {SSD}: folder of databases and label map, written by convert_data.py --to ssd")
    add("--classes", type=int, default=SHIPPED_CLASSES, metavar="N",
        help=f"number of classes, including the background (default: {SHIPPED_CLASSES}, PASCAL VOC)")
    add_net_options(result, short=True)
    add("--out", metavar="DIR",
        help="folder for <net>/<method>/*.pt (default: models/, which omits faster_rcnn_alt_opt_no_ohem)")
    return result


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parser().parse_args(argv)
    if (args.net == SSD) != bool(args.data) or args.net == SSD and not args.out:
        raise UserError(f"--net {SSD} needs --data and --out; no other net takes --data")
    writable_folder(args.out or MODELS, "--out")
    if args.net == SSD:
        paths = make_ssd(args.data, args.out)
        print(f"{SSD}: {len(paths)} files in {paths[0].parent}")
        return 0
    for net in [args.net] if args.net else NETS:
        try:
            paths = make_models(net, args.classes, net_sizes(args), args.out)
        except ValueError as error:
            raise UserError(str(error)) from None
        print(f"{net}: {len(paths)} files in {paths[0].parents[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
