"""`caffe draw`: draw a net."""
from __future__ import annotations

import argparse

from ..engine.graph.upgrade import read_net_upgraded
from ..proto import caffe_pb2
from .flags import Flags
from .running import CommandError, existing_file, log

SUMMARY = "draw a net as PNG, SVG or DOT"
EXAMPLES = """\
  caffe draw train_val.prototxt net.png
  caffe draw train_val.prototxt net.svg -rankdir TB -phase TRAIN
"""


def add_flags(flags: Flags) -> None:
    """Add the command's flags."""
    flags.add_argument("model", metavar="IN", help="net prototxt")
    flags.add_argument("picture", metavar="OUT", help="file to write; its extension selects the format")
    flags.add_argument("--rankdir", default="LR", choices=("LR", "RL", "TB", "BT"),
                       help="direction of the data flow, such as left to right (default: LR)")
    flags.add_argument("--phase", default="ALL", choices=("TRAIN", "TEST", "ALL"),
                       help="only layers of this phase (default: ALL)")
    flags.switch("display_lrm", "show learning rate multipliers in the layers")


def run(args: argparse.Namespace) -> int:
    """Draw."""
    from .. import draw
    net = read_net_upgraded(existing_file(args.model, "IN"))
    phase = None if args.phase == "ALL" else caffe_pb2.Phase.Value(args.phase)
    try:
        draw.draw_net_to_file(net, args.picture, args.rankdir, phase, args.display_lrm)
    except ValueError as error:     # the extension names no known format
        raise CommandError(str(error)) from None
    log.info("wrote %s", args.picture)
    return 0
