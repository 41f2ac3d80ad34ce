#!/usr/bin/env python3
"""Demonstrates the main job on a small scale: draws a data set, trains Tiny in four stages with OHEM, and tests it."""
from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import train_faster_rcnn_alt_opt

import _init_paths  # noqa: F401
from commands.options import OneForAll, add_device_options, make_parser, positive, tool
from utils.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ROOT / "experiments" / "cfgs" / "demo.yml"
EXAMPLES = """\
  tools/demo_job.py
      what `make demo` runs
  tools/demo_job.py --seed 7 --output output/demo7
  tools/demo_job.py --no_ohem --output output/demo_no_ohem
"""


def parser() -> argparse.ArgumentParser:
    """The tool's options."""
    result = make_parser(__doc__ or "", EXAMPLES)
    add = result.add_argument
    add("--data", default=str(ROOT / "data" / "demo"), metavar="DIR",
        help="folder for the data set (default: data/demo)")
    add("--output", default=str(ROOT / "output/demo"), metavar="DIR", help="output folder (default: output/demo)")
    add("--max_iters", type=positive, nargs="+", action=OneForAll, default=[600, 1000, 500, 600], metavar="N",
        help="iterations of the four stages, or one number for all (default: 600 1000 500 600)")
    add("--seed", type=int, default=3, help="random seed of the training (default: 3)")
    add("--pictures", type=positive, default=9, metavar="N",
        help="number of test photographs to draw detections on (default: 9)")
    add("--no_ohem", action="store_true", help="train on random RoIs instead of hard ones")
    add_device_options(result)
    return result


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parser().parse_args(argv)
    from alt_opt.files import training_logs
    from datasets.demo_scenes import make_demo_dataset
    start = time.monotonic()
    try:
        data = make_demo_dataset(args.data)
    except FileExistsError as error:
        raise UserError(str(error)) from None
    print(f"Data set: {data}", flush=True)
    status = train_faster_rcnn_alt_opt.main(training_options(args, data))
    if status:
        return status
    output = Path(args.output)
    status = show(output, training_logs(output), sample_pictures(data, args.pictures), _device(args))
    if status:
        return status
    print(f"The whole demo took {time.monotonic() - start:.0f} s", flush=True)
    return 0


def training_options(args: argparse.Namespace, data: Path) -> list[str]:
    """The command line of the training tool; an existing run is resumed."""
    return ["--net_name", "Tiny", "--cfg", str(SETTINGS), "--imdb", f"{data}:trainval", "--test_imdb", f"{data}:test",
            "--max_iters", *map(str, args.max_iters), "--seed", str(args.seed), "--output", args.output, "--resume",
            *(["--no_ohem"] if args.no_ohem else []), *_device(args)]


def _device(args: argparse.Namespace) -> list[str]:
    return ["--cpu"] if args.cpu else ["--gpu", str(args.gpu)] if args.gpu is not None else []


def sample_pictures(data: Path, count: int) -> list[Path]:
    """The first test photographs."""
    names = (data / "ImageSets" / "Main" / "test.txt").read_text().split()[:count]
    return [data / "JPEGImages" / f"{name}.jpg" for name in names]


def show(run: Path, logs: Sequence[Path], photographs: Sequence[Path], device: Sequence[str]) -> int:
    """Draw detections on photographs, combine them on one sheet, and plot the losses; returns demo.py's exit status."""
    import demo

    from commands.curves import LOSS_CURVES, plot_losses
    from utils.draw import montage, write_image
    from utils.images import read_image
    folder = run / "pictures"
    status = demo.main(["--run", str(run), *device, *map(str, photographs)])
    if status:
        return status
    sheet = folder / "all.png"
    write_image(sheet, montage([read_image(str(folder / f"{path.stem}.png")) for path in photographs]))
    plot_losses(logs, run / LOSS_CURVES)
    print(f"Detections: {sheet}\nLoss curves: {run / LOSS_CURVES}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
