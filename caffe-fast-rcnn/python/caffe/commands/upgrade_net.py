"""`caffe upgrade_net`: convert an old net prototxt to the current format."""
from __future__ import annotations

import argparse
import sys

from ..engine.graph.upgrade import upgrade_net_text
from .flags import Flags

SUMMARY = "convert a net prototxt (V0, V1 or V2) to the current format"
EXAMPLES = """\
  caffe upgrade_net old.prototxt new.prototxt
"""


def add_flags(flags: Flags) -> None:
    """Add the command's flags."""
    flags.add_argument("source", metavar="IN", help="prototxt to read")
    flags.add_argument("target", metavar="OUT", help="prototxt to write; may be the same")


def run(args: argparse.Namespace) -> int:
    """Upgrade."""
    upgrade_net_text(args.source, args.target)
    return 0


def main() -> int:
    """The program upgrade_net_proto_text."""
    from . import run_command
    return run_command("upgrade_net", sys.argv[1:])
