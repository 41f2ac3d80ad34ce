#!/usr/bin/env python3
"""Re-evaluates detections stored by tools/test_net.py, without running the net."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import _init_paths  # noqa: F401
from commands.options import add_cfg_options, apply_cfg, existing_file, make_parser, tool
from fast_rcnn.config import cfg
from utils.errors import UserError

EXAMPLES = """\
  tools/reval.py output/default/voc_2007_test/VGG16_faster_rcnn_final --imdb voc_2007_test
  tools/reval.py output/default/voc_2007_test/VGG16_faster_rcnn_final --nms --set TEST.NMS 0.4
"""


def parser() -> argparse.ArgumentParser:
    """The tool's options."""
    result = make_parser(__doc__ or "", EXAMPLES)
    add = result.add_argument
    add("output_dir", metavar="DIR", help="folder of results that contains detections.npz")
    add("--imdb", default="voc_2007_test", metavar="NAME",
        help="the tested data set: its name, or its path: folder[:split] (default: voc_2007_test)")
    add("--nms", action="store_true", help="apply NMS (TEST.NMS) to the stored detections first")
    add("--comp", action="store_true",
        help="call the data set's competition_mode(True), which custom ones may have; VOC's result files always have "
             "the names that its server expects")
    add_cfg_options(result)
    return result


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parser().parse_args(argv)
    apply_cfg(args)
    from datasets.detection_files import DETECTIONS
    path = existing_file(str(Path(args.output_dir, DETECTIONS)), "DIR", "tools/test_net.py writes it")
    from commands.data_set import check_results, load_imdb, print_report
    from datasets.all_boxes import evaluate_by_name, load_detections, stored_classes
    from fast_rcnn.test import apply_nms
    try:
        classes = stored_classes(path)
    except ValueError as error:
        load_imdb(args.imdb)        # report problems with the data set first
        raise UserError(str(error)) from None
    imdb = load_imdb(args.imdb, classes)
    check_results(Path(args.output_dir), imdb)
    try:
        detections = load_detections(path, imdb.image_index, classes)
    except ValueError as error:
        raise UserError(str(error)) from None
    if args.nms:
        detections = apply_nms(detections, cfg.TEST.NMS)
    imdb.competition_mode(args.comp)
    print_report(evaluate_by_name(imdb, detections, classes, args.output_dir))
    return 0


if __name__ == "__main__":
    sys.exit(main())
