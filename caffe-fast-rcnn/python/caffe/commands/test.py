"""`caffe test`: print the mean outputs of a net over some batches."""
from __future__ import annotations

import argparse

import numpy as np

from .. import pycaffe
from ..tables import values_text
from .flags import Flags, names, positive, stages
from .running import CommandError, Progress, existing_file, log, use_device

SUMMARY = "score a net: the mean of each output over some batches"
EXAMPLES = """\
  caffe test -model train_val.prototxt -weights net_iter_5000.caffemodel -iterations 100 -gpu 0
"""


def add_flags(flags: Flags) -> None:
    """Add the command's flags."""
    flags.add_argument("--model", required=True, metavar="FILE", help="net prototxt with its own data layers")
    flags.add_argument("--weights", required=True, metavar="FILES", help="caffemodels, separated by commas")
    flags.add_argument("--iterations", type=positive, default=50, metavar="N", help="batches to run (default: 50)")
    flags.add_gpu()
    flags.add_precision()
    flags.add_state()


def run(args: argparse.Namespace) -> int:
    """Test: log each batch, print the means."""
    existing_file(args.model, "-model")
    weights = ",".join(existing_file(name, "-weights") for name in names(args.weights) or [""])
    use_device(args.gpu, args.precision)
    net = pycaffe.Net(args.model, pycaffe.TEST, level=args.level or 0, stages=stages(args), weights=weights)
    totals: dict[str, np.ndarray] = {}
    loss, progress = 0.0, Progress(args.iterations, "batches")
    for batch in range(args.iterations):
        loss += net.forward_with_loss().item()
        for name in net.outputs:
            _add(totals, name, net.blobs[name].data.reshape(-1), batch)
        progress.step()
    print(f"Loss: {loss / args.iterations:.6g}")
    for name, total in totals.items():
        print(f"{name} = {_with_share(total / args.iterations, net.blob_loss_weights[name])}")
    return 0


def _add(totals: dict[str, np.ndarray], name: str, values: np.ndarray, batch: int) -> None:
    """Add the values of one batch to the sum of an output."""
    log.info("Batch %d, %s = %s", batch, name, values_text(values))
    total = totals.setdefault(name, np.zeros(values.size))
    if total.size != values.size:
        raise CommandError(f"output '{name}' has {total.size} values in the first batch and {values.size} in batch "
                           f"{batch}: there is no mean of them; use -iterations 1")
    total += values


def _with_share(means: np.ndarray, loss_weight: float) -> str:
    """The means as text, followed for losses by their weighted share of the net's loss."""
    share = f" (* {loss_weight:g} = {loss_weight * means.sum():.6g} loss)" if loss_weight else ""
    return values_text(means) + share
