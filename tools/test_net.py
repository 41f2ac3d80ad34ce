#!/usr/bin/env python3
"""Tests a detector on a data set: stores its detections and reports the average precision of each class."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import _init_paths  # noqa: F401
from commands.detector import add_detector_options, class_names, find_detector
from commands.options import (
    add_cfg_options,
    add_device_options,
    add_profile_option,
    add_split_options,
    apply_cfg,
    check_thresh,
    device_of,
    make_parser,
    not_negative,
    share_of,
    tool,
    use_device,
    writable_folder,
)
from fast_rcnn.config import cfg, get_output_dir
from utils.errors import UserError

if TYPE_CHECKING:
    from datasets.imdb import imdb as Imdb

EXAMPLES = """\
  tools/test_net.py --run output/faster_rcnn_alt_opt/voc_2007_trainval/VGG16 --imdb voc_2007_test
  tools/test_net.py --def models/VGG16/faster_rcnn_alt_opt/faster_rcnn_test.pt --net VGG16_final.caffemodel \\
      --imdb voc_2007_test --cfg experiments/cfgs/faster_rcnn_alt_opt.yml
"""


def parser() -> argparse.ArgumentParser:
    """The tool's options."""
    result = make_parser(__doc__ or "", EXAMPLES)
    add_detector_options(result)
    add = result.add_argument
    add("--imdb", default="voc_2007_test", metavar="NAME",
        help="name of a data set, or its path: folder[:split] (default: voc_2007_test)")
    add_split_options(result, "Tests on test")
    add("--proposals", metavar="FILE", help="proposals from tools/rpn_generate.py, for TEST.PROPOSAL_METHOD rpn")
    add("--num_dets", type=not_negative, default=100, metavar="N",
        help="keep at most N detections per image; 0: no limit (default: 100)")
    add("--thresh", type=float, default=0.05, help="minimum score of a detection (default: 0.05)")
    add("--vis", action="store_true", help="draw the detections on each image, with its ground truth in white")
    add("--json", action="store_true", help="also write the detections as detections.json")
    add("--csv", action="store_true", help="also write the detections as detections.csv")
    add("--comp", action="store_true",
        help="call the data set's competition_mode(True), which custom ones may have; VOC's result files always have "
             "the names that its server expects")
    add("--output", metavar="DIR", help="folder for the results (default: test/<data set> in --run, else "
                                        "output/<EXP_DIR>/<data set>/<net>)")
    add_profile_option(result)
    add_device_options(result)
    add_cfg_options(result)
    return result


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parser().parse_args(argv)
    if share := share_of(args):
        from datasets.factory import with_share
        args.imdb = with_share(args.imdb, share, "test")
    files = find_detector(args)
    apply_cfg(args, files.settings)
    check_thresh(args.thresh, cfg)
    from commands.data_set import (
        DECODED,
        check_division,
        check_images,
        check_own_results,
        check_results,
        claim_results,
        load_imdb,
        print_report,
        use_proposals,
    )
    from datasets.source import NothingToEvaluateError
    from fast_rcnn.test import test_net
    check_division(files.record.data_set if files.record else "", args.imdb)
    classes = class_names(files, args.classes)
    imdb = load_imdb(args.imdb, classes)
    if classes is None:
        print(f"Note: the net's class names are unknown; using those of the data set, in its order: "
              f"{', '.join(imdb.classes[1:])}", flush=True)
    from reports.page import check_page
    from reports.proposals import proposal_recalls
    from reports.run_report import PAGE, write_test_report
    output = writable_folder(args.output or _default_output(args, imdb, files.weights), "--output")
    check_results(output, imdb)
    tables = [name for name in ("json", "csv") if getattr(args, name)]
    check_own_results(output, [f"detections.{kind}" for kind in tables])
    check_page(output / PAGE)
    use_device(device_of(args))
    net = files.load(*((imdb.num_classes,) if classes is None else (len(classes), "the detector")))
    if not (cfg.TEST.HAS_RPN or files.lists_detections):
        if cfg.TEST.PROPOSAL_METHOD == "gt":
            raise UserError("TEST.PROPOSAL_METHOD is gt: annotated objects are not given to the detector, so that it "
                            "would find nothing; set it to rpn or selective_search")
        use_proposals(imdb, cfg.TEST.PROPOSAL_METHOD, args.proposals)
    elif args.proposals:
        raise UserError(f"--proposals {args.proposals}: would not be used, as the net makes its own")
    check_images(imdb, "--imdb", args.imdb, output / DECODED)
    claim_results(output, imdb)
    imdb.competition_mode(args.comp)
    print(f"Testing {files.weights} on {imdb.num_images} images of {imdb.name}", flush=True)
    try:
        print_report(test_net(net, imdb, args.num_dets, args.thresh, args.vis, output,
                              output / "profile" / "test" if args.profile else None, classes=classes))
    except NothingToEvaluateError as error:
        print(error, flush=True)
    write_tables(output, tables)
    print(f"Results: {output}", flush=True)
    run = Path(args.run) if args.run else None
    write_test_report(output, imdb, run, proposal_recalls(run) if run else ())
    return 0


def write_tables(output: Path, kinds: Sequence[str]) -> None:
    """Write the detections stored in a folder as detections.<kind> too; kinds are json and csv."""
    from datasets.all_boxes import load_detections, stored_classes, stored_images
    from datasets.detection_files import DETECTIONS, write_detection_table
    path = output / DETECTIONS
    for kind in kinds:
        write_detection_table(path.with_suffix(f".{kind}"), load_detections(path), stored_images(path),
                              stored_classes(path))


def _default_output(args: argparse.Namespace, imdb: Imdb, weights: str) -> str | Path:
    """The folder for the results: inside the run's folder if --run is given."""
    from commands.data_set import results_folder
    return results_folder(args.run, imdb) if args.run else get_output_dir(imdb, Path(weights).stem)


if __name__ == "__main__":
    sys.exit(main())
