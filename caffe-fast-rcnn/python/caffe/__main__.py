"""Command line of the engine: `python -m caffe upgrade_net old.prototxt new.prototxt`."""
from __future__ import annotations

import argparse
import sys

from .engine.graph.upgrade import upgrade_net_text, upgrade_solver_text
from .proto.prototxt import PrototxtError


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status, 2 for a mistake of the user."""
    parser = argparse.ArgumentParser(prog="python -m caffe", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run, what in (("upgrade_net", upgrade_net_text, "net prototxt (V0, V1 or V2)"),
                            ("upgrade_solver", upgrade_solver_text, "solver prototxt")):
        command = commands.add_parser(name, help=f"write a {what} in today's form")
        command.add_argument("source", metavar="IN")
        command.add_argument("target", metavar="OUT")
        command.set_defaults(run=run)
    arguments = parser.parse_args(argv)
    try:
        arguments.run(arguments.source, arguments.target)
    except (PrototxtError, OSError, ValueError) as error:
        print(f"{parser.prog} {arguments.command}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
