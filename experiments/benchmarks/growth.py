#!/usr/bin/env python3
"""How time and memory grow with the number of images, the image size and the number of RoIs.

    python experiments/benchmarks/growth.py [--report] [--parts images files sizes rois]

measures, each point in a separate process:

    images  start-up of Fast R-CNN training on synthetic data sets of up to 100,000 images and their flipped copies,
            with 2,000 proposals each; needs 8 GB in the folder for temporary files (TMPDIR)
    files   reading data sets in VOC layout, up to 10,000 images
    sizes   a training iteration of the Tiny net with OHEM, by image size
    rois    the same, by the number of RoIs

and prints tables with fits. Memory is anonymous memory: pages of the memory-mapped proposals, which the system may drop
at any time, do not count. `--report` writes growth.md next to this program. For fewer points: --images 100 1000.
"""
from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent / "tools"), str(HERE)]
import _init_paths  # noqa: E402, F401
from growth_tasks import TASKS  # noqa: E402
from measuring import add_report_option, exponent, in_a_process, line_through, publish  # noqa: E402

GOAL_KB = 4             # of memory per image, including its flipped copy
SIDES_ROIS = 300        # number of RoIs for the part `sizes`
ROIS_SIDE = 300         # shorter side of the image, in pixels, for the part `rois`

Rows = list[dict[str, Any]]


def measured(task: str, folder: Path, **options: int) -> dict[str, Any]:
    """Run a task of growth_tasks.py in a separate process; returns its result, plus its `peak` memory in MB."""
    print(f"{task} {options}", file=sys.stderr, flush=True)
    return in_a_process(__file__, "--task", task, "--folder", str(folder), "--options", json.dumps(options),
                        interval=0.005)


# ---- the parts, each a function that measures its points
def measure_images(options: argparse.Namespace) -> Rows:
    check_space(max(options.images) * options.proposals)
    rows = []
    for count in options.images:
        with tempfile.TemporaryDirectory() as folder:
            written = measured("write", Path(folder), images=count, proposals=options.proposals)
            rows.append({"n": count, "write": written["seconds"], "write peak": written["peak"],
                         **measured("start", Path(folder), images=count)})
    return rows


def check_space(boxes: int) -> None:
    """Exit if the temporary folder lacks space for that many proposals, which are stored twice while being written."""
    needed, folder = 2 * 20 * boxes, tempfile.gettempdir()
    if shutil.disk_usage(folder).free < needed:
        raise SystemExit(f"error: {folder} lacks {needed / 2 ** 30:.1f} GB free: set TMPDIR, or give fewer --images")


def measure_files(options: argparse.Namespace) -> Rows:
    return [{"n": count, **_in_new_folder("files", images=count)} for count in options.files]


def measure_sizes(options: argparse.Namespace) -> Rows:
    return [{"n": side * (side * 4 // 3), "side": side, **_in_new_folder("iterate", side=side, rois=SIDES_ROIS)}
            for side in options.sides]


def measure_rois(options: argparse.Namespace) -> Rows:
    return [{"n": count, **_in_new_folder("iterate", side=ROIS_SIDE, rois=count)} for count in options.rois]


def _in_new_folder(task: str, **options: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return measured(task, Path(folder), **options)


# ---- the report
def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|", *(f"| {' | '.join(row)} |" for row in rows), ""]


def fits(rows: Rows, values: dict[str, Sequence[float]], of_what: str) -> list[str]:
    """A line for each value: its linear fit, and its exponents over all points and over the last two."""
    if len(rows) < 2:
        return []
    n, lines = [row["n"] for row in rows], []
    for name, y in values.items():
        a, b = line_through(n, y)
        lines.append(f"* {name} = {a:.3g} + {b:.3g} x {of_what}; exponent {exponent(n, y):.2f} over all points, "
                     f"{exponent(n[-2:], y[-2:]):.2f} over the last two")
    return [*lines, ""]


def kilobytes_an_image(rows: Rows) -> float:
    """KB per additional image, from the first row to the last."""
    first, last = rows[0], rows[-1]
    return (last["memory"] - first["memory"]) * 1024 / max(1, last["n"] - first["n"])


def report_images(rows: Rows) -> list[str]:
    steps = list(rows[0]["steps"])
    kilobytes = kilobytes_an_image(rows)
    return [
        "## Images in the data set", "",
        *table(["images", *steps, "start-up, s", "memory, MB", "minibatch entry, us", "write proposals, s",
                "peak of writing, MB"],
               [[f"{row['n']:,}", *(f"{row['steps'][name]:.2f}" for name in steps), f"{row['seconds']:.2f}",
                 f"{row['memory']:.0f}", f"{row['entry'] * 1e6:.0f}", f"{row['write']:.2f}", f"{row['write peak']:.0f}"]
                for row in rows]),
        *fits(rows, {"start-up seconds": [row["seconds"] for row in rows],
                     "memory MB": [max(row["memory"], 0.1) for row in rows],
                     "seconds of writing": [row["write"] for row in rows]}, "images"),
        f"Each image takes {kilobytes:.2f} KB, including its flipped copy; the goal is below {GOAL_KB} KB: "
        f"{'met' if kilobytes < GOAL_KB else 'missed'}. Columns of steps are in seconds; a minibatch entry is that of "
        "one image, with flipping, overlaps and regression targets.", ""]


def report_files(rows: Rows) -> list[str]:
    return ["## Files of a data set in VOC layout", "",
            *table(["images", "seconds", "memory, MB"],
                   [[f"{row['n']:,}", f"{row['seconds']:.2f}", f"{row['memory']:.1f}"] for row in rows]),
            *fits(rows, {"seconds": [row["seconds"] for row in rows]}, "images"),
            f"Each image takes {kilobytes_an_image(rows):.2f} KB.", ""]


def report_iterations(rows: Rows, title: str, of_what: str, points: Callable[[dict], str]) -> list[str]:
    return [f"## {title}", "",
            *table([of_what, "seconds per iteration", "peak memory, MB"],
                   [[points(row), f"{row['seconds']:.4f}", f"{row['peak']:.0f}"] for row in rows]),
            *fits(rows, {"seconds": [row["seconds"] for row in rows], "MB": [row["peak"] for row in rows]}, of_what)]


REPORTS: dict[str, tuple[Callable[[argparse.Namespace], Rows], Callable[[Rows], list[str]]]] = {
    "images": (measure_images, report_images),
    "files": (measure_files, report_files),
    "sizes": (measure_sizes, lambda rows: report_iterations(
        rows, f"Image size: the Tiny net, {SIDES_ROIS} RoIs, OHEM", "pixels",
        lambda row: f"{row['n']:,} ({row['side']} x {row['side'] * 4 // 3})")),
    "rois": (measure_rois, lambda rows: report_iterations(
        rows, f"RoIs: the Tiny net, {ROIS_SIDE} x {ROIS_SIDE * 4 // 3} pixels, OHEM", "RoIs",
        lambda row: f"{row['n']:,}")),
}


def conditions() -> str:
    """The conditions that the measured times depend on."""
    cores, load = os.cpu_count() or 1, os.getloadavg()[0]
    busy = " Other programs ran too: seconds are upper bounds." if load > cores / 2 else ""
    return f"{cores} CPU cores, load {load:.1f}, OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}.{busy}"


def make_report(options: argparse.Namespace) -> str:
    """Measure the selected parts; returns the report as Markdown."""
    lines = ["# Cost of growth", "", "```sh", f"python experiments/benchmarks/growth.py {' '.join(options.words)}",
             "```", "", f"{conditions()} {options.proposals:,} proposals per image.", ""]
    for part in options.parts:
        measure, describe = REPORTS[part]
        lines += describe(measure(options))
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--parts", nargs="+", choices=REPORTS, default=list(REPORTS), help="what to measure (default: all)")
    add("--images", nargs="+", type=int, default=[100, 1000, 10000, 100000], metavar="N",
        help="numbers of synthetic images")
    add("--proposals", type=int, default=2000, metavar="N", help="proposals per image (default: 2000)")
    add("--files", nargs="+", type=int, default=[100, 1000, 10000], metavar="N", help="numbers of image files")
    add("--sides", nargs="+", type=int, default=[150, 300, 600, 1200], metavar="N",
        help="shorter sides of the image, in pixels")
    add("--rois", nargs="+", type=int, default=[250, 500, 1000, 2000, 4000], metavar="N", help="numbers of RoIs")
    add_report_option(parser, HERE / "growth.md")
    add("--task", choices=TASKS, help=argparse.SUPPRESS)
    add("--folder", type=Path, help=argparse.SUPPRESS)
    add("--options", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(words, argparse.Namespace(words=words))
    if options.task:
        print(json.dumps(TASKS[options.task](options.folder, **options.options)))
        return 0
    text = make_report(options)
    publish(text, options.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
