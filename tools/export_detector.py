#!/usr/bin/env python3
"""Exports a detector as one ONNX model, from the image to the boxes, for onnxruntime and other runtimes."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import _init_paths  # noqa: F401
from caffe.proto.caffe_pb2 import TEST
from checks.net_file import NetFile
from commands.detector import add_detector_options, class_names, find_proposing_detector
from commands.options import add_cfg_options, make_parser, not_negative, positive, tool, use_device
from utils.errors import UserError

EXAMPLES = """\
  tools/export_detector.py --run output/faster_rcnn_alt_opt/voc_2007_trainval/VGG16 --preprocess
  tools/export_detector.py --def models/VGG16/faster_rcnn_alt_opt/faster_rcnn_test.pt --net VGG16_final.caffemodel \\
      --output detector.onnx
"""


def parser() -> argparse.ArgumentParser:
    """The tool's options."""
    result = make_parser(__doc__ or "", EXAMPLES)
    add_detector_options(result)
    add = result.add_argument
    add("--output", metavar="FILE", help="model to write (default: the caffemodel's name with .onnx)")
    add("--preprocess", action="store_true",
        help="include the preprocessing: the model takes a uint8 image (height, width, 3) in BGR order, subtracts the "
             "mean and scales it (default: it takes the net's inputs)")
    add("--thresh", type=float, default=0.05, help="minimum score of a detection (default: 0.05)")
    add("--num_dets", type=not_negative, default=100, metavar="N",
        help="keep at most N detections per image; 0: no limit (default: 100)")
    add("--opset", type=positive, metavar="N", help="ONNX opset version, at least 18 (default: 18)")
    add_cfg_options(result)
    return result


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns its exit status."""
    args = parser().parse_args(argv)
    files = find_proposing_detector(args)
    if not (files.lists_detections or NetFile(files.net, TEST).proposal_layers()):
        raise UserError(f"{files.net}: has no RPN, so the model would need proposals for each image; give the test net "
                        "of a detector with an RPN")
    classes = class_names(files, args.classes)
    if classes is None:
        raise UserError("the class names of the net are unknown: --classes NAME ... gives them, without the background")
    from commands.onnx_file import onnx_file, write_onnx
    from onnx_export.detector import ExportSettings
    output = onnx_file(files, args.output, "--output")
    use_device(None)
    net = files.load(len(classes), "the detector", "--classes NAME ... gives the names of the net's classes, without "
                     "the background")
    write_onnx(net, output, classes, ExportSettings(args.thresh, args.num_dets, args.preprocess, args.opset))
    print(f"Wrote {output}: inputs {'image' if args.preprocess else 'data, im_info, image_size'}; outputs boxes, "
          "scores, labels", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
