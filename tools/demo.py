#!/usr/bin/env python3
"""Detects objects in photographs and draws them; works without a screen."""
from __future__ import annotations

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import _init_paths  # noqa: F401  # before all that may not be installed

# isort: split
import numpy as np

from commands.detector import DetectorFiles, add_detector_options, class_names, find_detector
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
from utils.errors import UserError, message_of
from utils.files import read_record, write_json
from utils.image_header import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from utils.other_caffe import Net

EXAMPLES = """\
  tools/demo.py --run output/faster_rcnn_alt_opt/voc_2007_trainval/VGG16 photo.jpg holiday/
  tools/demo.py --def models/VGG16/faster_rcnn_alt_opt/faster_rcnn_test.pt --net VGG16_final.caffemodel photo.jpg
"""
PICTURES = "pictures.json"      # names the pictures in the output folder that this tool has written


def parser() -> argparse.ArgumentParser:
    """The options of the tool."""
    result = make_parser(__doc__ or "", EXAMPLES)
    add_detector_options(result)
    add = result.add_argument
    add("images", nargs="+", metavar="IMAGE", help="photographs, or folders of them")
    add("--output", metavar="DIR", help="folder for the pictures (default: pictures in --run, else output/pictures)")
    add("--thresh", type=float, default=0.5, help="minimum score of detections to draw (default: 0.5)")
    add_device_options(result)
    add_cfg_options(result)
    return result


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parser().parse_args(argv)
    files = find_detector(args)
    apply_cfg(args, files.settings)
    if untrained := files.untrained_rpn():
        raise UserError(f"this tool needs a detector that makes its own proposals; {untrained}")
    cfg.TEST.HAS_RPN = True
    paths = image_files(args.images)
    output = writable_folder(args.output or Path(args.run or "output", "pictures"), "--output")
    targets = picture_names(paths, output)
    if args.output:
        record_pictures(output, targets)
    classes, source = _class_names(files, args.classes)
    use_device(choose_device(args))
    net = files.load(len(classes), source, "--classes NAME ... gives the names of the net's classes, without the "
                     "background")
    failed = [problem for path, target in zip(paths, targets, strict=True)
              if (problem := show(net, path, classes, args.thresh, target))]
    print(f"Pictures: {output}", flush=True)
    if failed:
        raise UserError("\n".join([f"{len(failed)} of {len(paths)} photographs are left out:", *failed]))
    return 0


def image_files(names: Sequence[str]) -> list[Path]:
    """The named photographs, and those in named folders. Raises UserError for a name that is neither."""
    files: list[Path] = []
    for path in map(Path, names):
        if path.is_dir():
            files += sorted(entry for entry in path.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES)
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"{path}: there is no such photograph or folder")
    if not files:
        raise UserError(f"no photographs in {', '.join(names)}; looked for {' '.join(IMAGE_SUFFIXES)}")
    return files


def _class_names(files: DetectorFiles, given: Sequence[str] | None) -> tuple[Sequence[str], str]:
    """Class names, and where they come from."""
    from datasets.pascal_voc import CLASSES
    names = class_names(files, given)
    if names:
        return names, "--classes" if given else "the run" if files.record and files.record.net else "the detector"
    print("Note: the class names of the net are unknown, so they are those of PASCAL VOC; --classes gives others",
          flush=True)
    return CLASSES, "PASCAL VOC"


def picture_names(paths: Sequence[Path], output: Path) -> list[Path]:
    """<name>.png in the output folder, with a number appended if photographs have the same name: all differ."""
    counts = Counter(path.stem for path in paths)
    taken = {stem for stem, count in counts.items() if count == 1}      # these names stay as they are
    names = []
    for index, path in enumerate(paths):
        numbered = (f"{path.stem}_{number}" for number in itertools.count(index))
        names.append(path.stem if counts[path.stem] == 1 else next(name for name in numbered if name not in taken))
        taken.add(names[-1])
    return [output / f"{name}.png" for name in names]


def record_pictures(output: Path, targets: Sequence[Path]) -> None:
    """Record that these pictures in the user's output folder are ours.

    Raises UserError, and records nothing, if one of them exists that is not: a photograph, say.
    """
    record = output / PICTURES
    ours = read_record(record, "remove it", pictures=list)["pictures"] if record.is_file() else []
    taken = [str(target) for target in targets if target.exists() and target.name not in ours]
    if taken:
        more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise UserError(f"{taken[0]}{more}: is there already and not a picture of this tool; choose another --output")
    write_json(record, {"pictures": sorted({*ours, *(target.name for target in targets)})})


def show(net: Net, path: Path, classes: Sequence[str], thresh: float, target: Path) -> str:
    """Detect objects in one photograph; print a table and write a picture of them.

    Returns what is wrong with the photograph if it cannot be used, else ''.
    """
    from fast_rcnn.test import detections_per_class, im_detect
    from utils.draw import draw_detections, write_image
    from utils.images import ImageError, naming, read_image
    from utils.timer import Timer
    timer = Timer()
    try:
        im = read_image(str(path))
        timer.tic()
        with naming(path):
            scores, boxes = im_detect(net, im)
    except (ImageError, OSError) as error:
        print(f"{message_of(error)}: left out", flush=True)
        return message_of(error)
    detections = detections_per_class(scores, boxes, len(classes), thresh, cfg.TEST.NMS, 0)
    seconds = timer.toc(average=False)
    write_image(target, draw_detections(im, detections, classes, thresh))
    print(f"{path}: {sum(map(len, detections))} objects in {seconds:.2f} s -> {target}")
    for line in table(detections, classes):
        print(f"  {line}", flush=True)
    return ""


def table(detections: Sequence[np.ndarray], classes: Sequence[str]) -> Iterator[str]:
    """One line per object: class, score and box in pixels, best first."""
    width = max(map(len, classes))
    rows = [(row, name) for name, found in zip(classes, detections, strict=True) for row in found]
    for (x1, y1, x2, y2, score), name in sorted(rows, key=lambda item: -item[0][4]):
        yield f"{name:<{width}} {score:.3f}  x {x1:.0f}..{x2:.0f}  y {y1:.0f}..{y2:.0f}"


if __name__ == "__main__":
    sys.exit(main())
