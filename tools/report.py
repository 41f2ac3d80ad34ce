#!/usr/bin/env python3
"""Writes an HTML page about a run: losses, average precisions, curves, pictures of mistakes, hard examples."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import _init_paths  # noqa: F401
from commands.options import add_cfg_options, apply_cfg, make_parser, tool
from utils.errors import UserError

EXAMPLES = """\
  tools/report.py --run output/demo
      writes output/demo/report.html; works while the run is still training
  tools/report.py --run output/mine --imdb path/where/the/test/set/is/now:test --output mine.html
"""


def parser() -> argparse.ArgumentParser:
    """The tool's options."""
    result = make_parser(__doc__ or "", EXAMPLES)
    add = result.add_argument
    add("--run", required=True, metavar="DIR", help="output folder of a training, or of tools/test_net.py")
    add("--imdb", metavar="NAME", help="the test set, if it has been moved since the test")
    add("--output", metavar="FILE", help="page to write (default: report.html in --run)")
    add_cfg_options(result)
    return result


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parser().parse_args(argv)
    run = Path(args.run)
    if not run.is_dir():
        raise UserError(f"--run: there is no folder {run}")
    apply_cfg(args)
    from datasets.detection_files import DETECTIONS
    from reports.page import check_page
    from reports.proposals import proposal_recalls
    from reports.run_report import PAGE, write_run_report
    from reports.stored_results import results_of_run, stored_results
    page = Path(args.output or run / PAGE)
    check_page(page)
    if (run / DETECTIONS).is_file():
        results, recalls = [stored_results(run, args.imdb)], []
    else:
        results, recalls = list(results_of_run(run, args.imdb)), list(proposal_recalls(run))
    if not (results or (run / "logs").is_dir()):
        raise UserError(f"--run {run}: holds neither a training nor results of tools/test_net.py")
    write_run_report(page, run.resolve().name, run, results, recalls)
    print(f"Page: {page}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
