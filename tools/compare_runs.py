#!/usr/bin/env python3
"""Compares several runs side by side: average precisions, losses, and the settings in which they differ."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import _init_paths  # noqa: F401
from commands.options import make_parser, tool
from utils.errors import UserError

EXAMPLES = """\
  tools/compare_runs.py output/demo output/demo_no_ohem
  tools/compare_runs.py output/a output/b output/c --output compared.html
      also writes an HTML page with curves
"""


def parser() -> argparse.ArgumentParser:
    """The tool's options."""
    result = make_parser(__doc__ or "", EXAMPLES)
    result.add_argument("runs", nargs="+", metavar="RUN",
                        help="output folder of a training; differences are to the first one")
    result.add_argument("--output", metavar="FILE", help="also write an HTML page to this file")
    return result


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parser().parse_args(argv)
    from reports.comparison import is_run, read_run, run_names, text_report, write_comparison
    from reports.page import check_page
    folders = [Path(run) for run in args.runs]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}")
        if not is_run(folder):
            raise UserError(f"{folder}: is not the output folder of a training; the results of its tests are in test/ "
                            "there")
    if args.output:
        check_page(args.output)
    runs = [read_run(folder, name) for folder, name in zip(folders, run_names(folders), strict=True)]
    print(text_report(runs), flush=True)
    if args.output:
        write_comparison(Path(args.output), runs)
        print(f"Page: {args.output}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
