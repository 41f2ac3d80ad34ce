#!/usr/bin/env python3
"""Detects objects in photographs and draws them; works without a screen."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import _init_paths  # noqa: F401  # before all that may not be installed

# isort: split
import numpy as np

from commands.detector import add_detector_options, find_detector
from commands.options import (
    add_cfg_options,
    add_device_options,
    apply_cfg,
    choose_device,
    make_parser,
    tool,
    use_device,
    writable_folder,
)
from fast_rcnn.config import cfg
from utils.errors import UserError

if TYPE_CHECKING:
    from utils.other_caffe import Net

EXAMPLES = """\
  tools/demo.py --run output/faster_rcnn_alt_opt/voc_2007_trainval/VGG16 photo.jpg holiday/
  tools/demo.py --def models/VGG16/faster_rcnn_alt_opt/faster_rcnn_test.pt --net VGG16_final.caffemodel photo.jpg
"""
_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}


def parser() -> argparse.ArgumentParser:
    """The options of the tool."""
    result = make_parser(__doc__ or "", EXAMPLES)
    add_detector_options(result)
    add = result.add_argument
    add("images", nargs="+", metavar="IMAGE", help="photographs, or folders of them")
    add("--classes", nargs="+", metavar="NAME", help="class names without the background (default: the run's, "
                                                     "else PASCAL VOC's)")
    add("--output", default="output/demo", metavar="DIR", help="folder for the pictures (default: output/demo)")
    add("--thresh", type=float, default=0.5, help="minimum score of detections to draw (default: 0.5)")
    add_device_options(result)
    add_cfg_options(result)
    return result


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parser().parse_args(argv)
    files = find_detector(args)
    apply_cfg(args)
    cfg.TEST.HAS_RPN = True
    paths = image_files(args.images)
    writable_folder(args.output, "--output")
    classes, source = _class_names(args.classes, files.classes)
    use_device(choose_device(args))
    net = files.load(len(classes), source, "--classes NAME ... gives the names of the net's classes, without the "
                     "background")
    for path, target in zip(paths, picture_names(paths, Path(args.output)), strict=True):
        show(net, path, classes, args.thresh, target)
    print(f"Pictures: {args.output}", flush=True)
    return 0


def image_files(names: Sequence[str]) -> list[Path]:
    """The named photographs, and those in named folders. Raises UserError for a name that is neither."""
    files: list[Path] = []
    for path in map(Path, names):
        if path.is_dir():
            files += sorted(entry for entry in path.iterdir() if entry.suffix.lower() in _SUFFIXES)
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"{path}: there is no such photograph or folder")
    if not files:
        raise UserError(f"no photographs in {', '.join(names)}; looked for {' '.join(sorted(_SUFFIXES))}")
    return files


def _class_names(given: Sequence[str] | None, of_run: Sequence[str] | None) -> tuple[Sequence[str], str]:
    """Class names, and where they come from."""
    from datasets.pascal_voc import CLASSES
    if given:
        return ["__background__", *given], "--classes"
    return (of_run, "the run") if of_run else (CLASSES, "PASCAL VOC")


def picture_names(paths: Sequence[Path], output: Path) -> list[Path]:
    """<name>.png in the output folder, with a number appended if photographs have the same name."""
    stems = [path.stem for path in paths]
    return [output / (f"{stem}_{index}.png" if stems.count(stem) > 1 else f"{stem}.png")
            for index, stem in enumerate(stems)]


def show(net: Net, path: Path, classes: Sequence[str], thresh: float, target: Path) -> None:
    """Detect objects in one photograph; print a table and write a picture of them."""
    from fast_rcnn.test import detections_per_class, im_detect
    from utils.draw import draw_detections, write_image
    from utils.images import read_image
    from utils.timer import Timer
    im, timer = read_image(str(path)), Timer()
    timer.tic()
    detections = detections_per_class(*im_detect(net, im), len(classes), thresh, cfg.TEST.NMS, 0)
    seconds = timer.toc(average=False)
    write_image(target, draw_detections(im, detections, classes, thresh))
    print(f"{path}: {sum(map(len, detections))} objects in {seconds:.2f} s -> {target}")
    for line in table(detections, classes):
        print(f"  {line}", flush=True)


def table(detections: Sequence[np.ndarray], classes: Sequence[str]) -> Iterator[str]:
    """One line per object: class, score and box in pixels, best first."""
    width = max(map(len, classes))
    rows = [(row, name) for name, found in zip(classes, detections, strict=True) for row in found]
    for (x1, y1, x2, y2, score), name in sorted(rows, key=lambda item: -item[0][4]):
        yield f"{name:<{width}} {score:.3f}  x {x1:.0f}..{x2:.0f}  y {y1:.0f}..{y2:.0f}"


if __name__ == "__main__":
    sys.exit(main())
