#!/usr/bin/env python3
"""Writes the proposals of a region proposal network for every image of a data set."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import _init_paths  # noqa: F401
from commands.options import (
    add_cfg_options,
    add_device_options,
    add_profile_option,
    apply_cfg,
    device_of,
    existing_file,
    make_parser,
    tool,
    use_device,
    writable_folder,
)
from fast_rcnn.config import get_output_dir
from utils.errors import UserError, raise_all

EXAMPLES = """\
  tools/rpn_generate.py --def models/VGG16/faster_rcnn_alt_opt/rpn_test.pt --net rpn.caffemodel \\
      --imdb voc_2007_trainval
  torchrun --nproc_per_node 4 tools/rpn_generate.py ...
      on four GPUs, each for a quarter of the images
"""


def parser() -> argparse.ArgumentParser:
    """The tool's options."""
    result = make_parser(__doc__ or "", EXAMPLES)
    add = result.add_argument
    add("--def", dest="prototxt", required=True, metavar="FILE", help="test prototxt of the RPN (rpn_test.pt)")
    add("--net", required=True, metavar="FILE", help="caffemodel of the RPN")
    add("--imdb", default="voc_2007_test", metavar="NAME",
        help="name of a data set, or its path: folder[:split] (default: voc_2007_test)")
    add("--output", metavar="FILE", help="file to write (default: <net>_proposals.npz in output/<EXP_DIR>/<data set>)")
    add_profile_option(result)
    add_device_options(result)
    add_cfg_options(result)
    return result


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parser().parse_args(argv)
    existing_file(args.prototxt, "--def")
    existing_file(args.net, "--net")
    from commands.data_set import DECODED, check_images, check_results, claim_results, load_imdb
    from commands.detector import anchor_problems, load_rpn, record_beside
    record = record_beside(args)
    many = {"TEST.RPN_PRE_NMS_TOP_N": -1, "TEST.RPN_POST_NMS_TOP_N": 2000}      # unless the user sets others
    apply_cfg(args, {**(record.settings if record else {}), **many})
    from datasets.proposals_file import save_proposals
    from rpn.generate import imdb_proposals
    from utils import parallel
    imdb = load_imdb(args.imdb)
    output = Path(args.output or Path(get_output_dir(imdb), f"{Path(args.net).stem}_proposals.npz"))
    writable_folder(output.parent, "--output")
    if output.is_dir():
        raise UserError(f"--output {output}: is a folder, expected the name of a file")
    if not args.output:         # several data sets may share the default folder
        check_results(output.parent, imdb)
    use_device(device_of(args))
    parallel.join()
    profile = output.parent / "profile" / output.stem if args.profile else None
    raise_all(anchor_problems(args.prototxt, record))
    net = load_rpn(args.prototxt, args.net)
    with parallel.after_the_first():        # the other processes reuse its record
        check_images(imdb, "--imdb", args.imdb, output.parent / DECODED)
        if not args.output:
            claim_results(output.parent, imdb)
    boxes, scores = imdb_proposals(net, imdb, profile)
    if not parallel.is_first():
        return 0
    save_proposals(output, boxes, scores, imdb.image_index)
    recall = imdb.evaluate_recall(boxes)
    print(f"{sum(map(len, boxes))} proposals for {imdb.num_images} images, average recall "
          f"{recall['ar']:.3f}\nProposals: {output}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
