"""`caffe inspect`: print the contents of a net or a caffemodel."""
from __future__ import annotations

import argparse

import numpy as np

from .. import pycaffe
from ..costs import backward_multiply_adds, multiply_adds, values_kept
from ..engine.files.caffemodel import read_weights
from ..engine.net import Net
from ..logs import quiet_construction
from ..tables import memory_text, shape_text, table
from .flags import Flags, names, stages
from .running import CommandError, existing_file

SUMMARY = "print a model's layers, shapes, parameters, multiply-adds and memory"
EXAMPLES = """\
  caffe inspect deploy.prototxt
  caffe inspect deploy.prototxt net.caffemodel               (also checks that they match)
  caffe inspect deploy.prototxt -input data=1,3,600,1000     (with another input size)
  caffe inspect net.caffemodel
"""


def add_flags(flags: Flags) -> None:
    """Add the command's flags."""
    flags.add_argument("files", nargs="*", metavar="FILE", help="a net prototxt, or a caffemodel, or both")
    flags.add_argument("--model", metavar="FILE", help="the prototxt")
    flags.add_argument("--weights", default="", metavar="FILES", help="caffemodels, separated by commas")
    flags.add_argument("--input", action="append", default=[], metavar="NAME=N,C,H,W",
                       help="shape of an input; repeatable")
    flags.add_state(phase="TEST")


def run(args: argparse.Namespace) -> int:
    """Print the tables."""
    models = [args.model] * bool(args.model)
    weights = names(args.weights)
    for path in args.files:
        (models if _is_text(existing_file(path, "FILE")) else weights).append(path)
    if len(models) > 1 or not models + weights:
        raise CommandError(f"give one prototxt, or a caffemodel, or both; found {len(models)} prototxts")
    if not models:
        for path in weights:
            print(describe_weights(path))
        return 0
    with quiet_construction():
        net = pycaffe.Net(existing_file(models[0], "-model"), getattr(pycaffe, args.phase), level=args.level or 0,
                          stages=stages(args), weights=",".join(existing_file(path, "-weights") for path in weights))
    _reshape_inputs(net, args.input)
    print(describe_net(net))
    return 0


def _is_text(path: str) -> bool:
    with open(path, "rb") as file:
        return b"\0" not in file.read(8192)


def _reshape_inputs(net: Net, wishes: list[str]) -> None:
    for wish in wishes:
        name, _, dims = wish.partition("=")
        shape = [int(dim) for dim in names(dims) if dim.strip().isdecimal()]
        if name not in net.inputs or len(shape) != dims.count(",") + 1:
            raise CommandError(f"-input {wish}: expected NAME=N,C,H,W with a NAME of "
                               f"{', '.join(net.inputs) or 'a net with Input layers'}")
        net.blobs[name].reshape(*shape)
    if wishes:
        net.reshape()


def describe_net(net: Net) -> str:
    """The table of a net's layers, with totals. Automatic splits are omitted: they cost nothing."""
    rows, total, backward = [], 0, 0
    for plan, (layer, bottoms, tops) in zip(net._graph.plans, net._graph.connected(), strict=True):
        if layer.type == "Split":
            continue
        work = multiply_adds(layer, bottoms, tops)
        total += work
        if plan.needs_backward:
            backward += backward_multiply_adds(layer, bottoms, tops, plan.propagate_down)
        rows.append((layer.name, layer.type, " ".join(shape_text(top.shape) for top in tops),
                     " ".join(shape_text(blob.shape) for blob in layer.blobs),
                     f"{sum(blob.count for blob in layer.blobs):,}", f"{work:,}",
                     memory_text(sum(top.count for top in tops))))
    header = ("layer", "type", "tops", "parameters", "count", "multiply-adds", "tops' memory")
    return "\n".join([f"{net.name or 'net'}, phase {net.phase}", "", table(header, rows, numbers=(4, 5, 6)), "",
                      *_sums(net, total, backward)])


def _sums(net: Net, work: int, backward: int) -> list[str]:
    parameters = sum(blob.count for blob in net.learnable_params)
    frozen = sum(blob.count for blob, rate in zip(net.learnable_params, net.params_lr, strict=True) if not rate)
    kept = values_kept(net._graph.blobs)
    return [f"Inputs: {', '.join(net.inputs) or 'none'}",
            f"Outputs: {', '.join(net.outputs)}",
            f"Parameters: {parameters:,} ({memory_text(parameters)}), shared ones counted once; frozen: {frozen:,}",
            f"Multiply-adds of a forward pass: {work:,} (convolutions, fully connected and recurrent layers)",
            *([f"Multiply-adds of a backward pass: {backward:,}"] if backward else []),
            f"Memory of blobs: {memory_text(kept)}; with all gradients {memory_text(2 * kept)}"]


def describe_weights(path: str) -> str:
    """The table of a caffemodel's layers with weights, and totals."""
    layers = read_weights(path)
    rows = [(name, " ".join(shape_text(array.shape) for array in arrays), f"{_count(arrays):,}",
             " ".join(f"{np.abs(array).mean():.3g}" if array.size else "-" for array in arrays))
            for name, arrays in layers if arrays]
    total = sum(_count(arrays) for _, arrays in layers)
    return "\n".join([f"{path}: {len(layers)} layers, {len(rows)} with weights", "",
                      table(("layer", "shapes", "count", "mean |w|"), rows, numbers=(2,)), "",
                      f"Parameters: {total:,} ({memory_text(total)}); shared ones are counted in each layer"])


def _count(arrays: list[np.ndarray]) -> int:
    return sum(array.size for array in arrays)
