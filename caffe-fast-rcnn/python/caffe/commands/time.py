"""`caffe time`: time each layer of a net."""
from __future__ import annotations

import argparse

from .. import pycaffe
from ..profile import LayerTimes
from ..spans import BACKWARD, FORWARD, Recorder, observe
from .flags import Flags, positive, stages
from .running import Progress, existing_file, log, use_device

SUMMARY = "time the forward and backward pass of a net, layer by layer"
EXAMPLES = """\
  caffe time -model deploy.prototxt -iterations 10
  caffe time -model train_val.prototxt -phase TEST -gpu 0
"""


def add_flags(flags: Flags) -> None:
    """Add the command's flags."""
    flags.add_argument("--model", required=True, metavar="FILE", help="net prototxt")
    flags.add_argument("--iterations", type=positive, default=50, metavar="N",
                       help="number of forward and backward passes (default: 50)")
    flags.add_gpu()
    flags.add_precision()
    flags.add_state(phase="TRAIN")


def run(args: argparse.Namespace) -> int:
    """Time a net with its initial weights."""
    existing_file(args.model, "-model")
    use_device(args.gpu, args.precision)
    net = pycaffe.Net(args.model, getattr(pycaffe, args.phase), level=args.level or 0, stages=stages(args))
    recorder, times = Recorder(), LayerTimes(net.engine_layers)
    observe(net, recorder)
    progress = Progress(args.iterations, "iterations")
    for iteration in range(-1, args.iterations):
        with recorder.span(FORWARD):
            net.forward_with_loss()
        with recorder.span(BACKWARD):
            net.run_backward()
        spans = recorder.take()
        if iteration < 0:           # the first pass chooses algorithms and allocates memory
            log.info("Timing %d iterations, phase %s", args.iterations, args.phase)
            if not any(net.blob_loss_weights.values()):
                log.info("The net has no loss: nothing needs a backward pass")
        else:
            times.add(spans)
            progress.step()
    print(report(times, args.iterations))
    return 0


def report(times: LayerTimes, iterations: int) -> str:
    """The table of the layers and the totals, in milliseconds for one iteration."""
    totals = (("Average forward pass", times.of[FORWARD] / iterations),
              ("Average backward pass", times.of[BACKWARD] / iterations),
              ("Average forward-backward", times.whole / iterations), ("Total time", times.whole))
    return "\n".join([times.table(iterations), "",
                      *(f"{what}: {1000 * seconds:.3f} ms" for what, seconds in totals)])
