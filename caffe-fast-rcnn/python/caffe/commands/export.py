"""`caffe export`: export a net and its weights to another format."""
from __future__ import annotations

import argparse

from .. import pycaffe
from ..export import to_onnx
from ..logs import quiet_construction
from .flags import Flags, stages
from .running import existing_file, log

SUMMARY = "write a net and its weights as an ONNX model"
EXAMPLES = """\
  caffe export deploy.prototxt net.caffemodel net.onnx
  caffe export --to onnx deploy.prototxt net.caffemodel net.onnx
"""


def add_flags(flags: Flags) -> None:
    """Add the command's flags."""
    flags.add_argument("model", metavar="MODEL", help="deploy prototxt; its input shapes become the model's")
    flags.add_argument("weights", metavar="WEIGHTS", help="caffemodels, separated by commas")
    flags.add_argument("target", metavar="OUT", help="file to write")
    flags.add_argument("--to", default="onnx", choices=("onnx",), help="format (default: onnx)")
    flags.add_state()


def run(args: argparse.Namespace) -> int:
    """Export."""
    weights = ",".join(existing_file(path, "WEIGHTS") for path in args.weights.split(","))
    with quiet_construction():
        net = pycaffe.Net(existing_file(args.model, "MODEL"), pycaffe.TEST, level=args.level or 0, stages=stages(args),
                          weights=weights)
    to_onnx(net, args.target)
    log.info("wrote %s: inputs %s, outputs %s", args.target, ", ".join(net.inputs), ", ".join(net.outputs))
    return 0
