"""`caffe upgrade_solver`: convert an old solver prototxt to the current format."""
from __future__ import annotations

import argparse
import sys

from ..engine.graph.upgrade import upgrade_solver_text
from .flags import Flags

SUMMARY = "convert a solver prototxt to the current format"
EXAMPLES = """\
  caffe upgrade_solver old.prototxt new.prototxt
"""


def add_flags(flags: Flags) -> None:
    """Add the command's flags."""
    flags.add_argument("source", metavar="IN", help="prototxt to read")
    flags.add_argument("target", metavar="OUT", help="prototxt to write; may be the same")


def run(args: argparse.Namespace) -> int:
    """Upgrade."""
    upgrade_solver_text(args.source, args.target)
    return 0


def main() -> int:
    """The program upgrade_solver_proto_text."""
    from . import run_command
    return run_command("upgrade_solver", sys.argv[1:])
