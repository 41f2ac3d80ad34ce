"""`caffe export`: export a net and its weights to another format."""
from __future__ import annotations

import argparse
import os

from .. import pycaffe
from ..export import OPSET, to_onnx
from ..logs import quiet_construction
from .flags import Flags, names, positive, stages
from .running import CommandError, existing_file, log

SUMMARY = "write a net and its weights as an ONNX model"
EXAMPLES = """\
  caffe export deploy.prototxt net.caffemodel net.onnx
  caffe export -input data=1,3,height,width -opset 21 deploy.prototxt net.caffemodel net.onnx
"""


def add_flags(flags: Flags) -> None:
    """Add the command's flags."""
    flags.add_argument("model", metavar="MODEL",
                       help="deploy prototxt; its input shapes become the model's, unless -input gives others")
    flags.add_argument("weights", metavar="WEIGHTS", help="caffemodels, separated by commas")
    flags.add_argument("target", metavar="OUT", help="file to write")
    flags.add_argument("--input", action="append", type=input_shape, default=[], metavar="NAME=N,C,H,W",
                       help="override the shape of an input; a word instead of a length, as in "
                            "data=batch,3,height,width, makes an axis of any length; repeatable")
    flags.add_argument("--opset", type=positive, default=OPSET, metavar="N",
                       help=f"version of ONNX's operators, from {OPSET} on (default: {OPSET})")
    flags.add_argument("--to", default="onnx", choices=("onnx",), help="format (default: onnx)")
    flags.add_state()


def input_shape(text: str) -> tuple[str, tuple[int | str, ...]]:
    """A flag type: the name of an input and its shape, with words for axes of any length."""
    name, _, dims = text.rpartition("=")
    parts = names(dims)
    if not name or not all(part.isdecimal() or part.isidentifier() for part in parts):
        raise argparse.ArgumentTypeError(f"expected NAME=N,C,H,W with numbers or words, as data=1,3,height,width, "
                                         f"found {text}")
    return name, tuple(int(part) if part.isdecimal() else part for part in parts)


def run(args: argparse.Namespace) -> int:
    """Export."""
    weights = ",".join(existing_file(path, "WEIGHTS") for path in args.weights.split(","))
    if os.path.realpath(args.target) in map(os.path.realpath, (args.model, *args.weights.split(","))):
        raise CommandError(f"OUT: {args.target} is a file to read; give the model a name of its own")
    with quiet_construction():
        net = pycaffe.Net(existing_file(args.model, "MODEL"), pycaffe.TEST, level=args.level or 0, stages=stages(args),
                          weights=weights)
    to_onnx(net, args.target, dict(args.input), args.opset)
    log.info("wrote %s: inputs %s, outputs %s", args.target, ", ".join(net.inputs), ", ".join(net.outputs))
    return 0
