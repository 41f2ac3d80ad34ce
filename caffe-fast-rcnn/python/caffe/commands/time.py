"""`caffe time`: how long each layer of a net takes."""
from __future__ import annotations

import argparse
from collections.abc import Callable

from .. import pycaffe
from ..engine.net import Net
from .flags import Flags, positive, stages
from .running import Progress, existing_file, log, use_device
from .tables import table

SUMMARY = "time the forward and backward pass of a net, layer by layer"
EXAMPLES = """\
  caffe time -model deploy.prototxt -iterations 10
  caffe time -model train_val.prototxt -phase TEST -gpu 0
"""


def add_flags(flags: Flags) -> None:
    """Declare the flags."""
    flags.add_argument("--model", required=True, metavar="FILE", help="net prototxt")
    flags.add_argument("--iterations", type=positive, default=50, metavar="N",
                       help="forward and backward passes (default: 50)")
    flags.add_gpu()
    flags.add_state(phase="TRAIN")


class Stopwatch:
    """Adds up the milliseconds that each layer takes in one direction, forward or backward."""

    def __init__(self, layers: int, before: Callable, after: Callable) -> None:
        self.ms = [0.0] * layers
        self.whole = 0.0            # of all passes, what lies between the layers included
        self._layer, self._pass = pycaffe.Timer(), pycaffe.Timer()
        before(lambda index: self._layer.start())
        after(self._add)

    def _add(self, index: int) -> None:
        self._layer.stop()
        self.ms[index] += self._layer.ms

    def clear(self) -> None:
        """Forget the time so far."""
        self.ms, self.whole = [0.0] * len(self.ms), 0.0

    def measure(self, work: Callable[[], object]) -> None:
        """Run one pass of the net."""
        self._pass.start()
        work()
        self._pass.stop()
        self.whole += self._pass.ms


def run(args: argparse.Namespace) -> int:
    """Time a net with its initial weights."""
    existing_file(args.model, "-model")
    use_device(args.gpu)
    net = pycaffe.Net(args.model, getattr(pycaffe, args.phase), level=args.level or 0, stages=stages(args))
    forward = Stopwatch(len(net.engine_layers), net.before_forward, net.after_forward)
    backward = Stopwatch(len(net.engine_layers), net.before_backward, net.after_backward)
    progress = Progress(args.iterations, "iterations")
    for iteration in range(-1, args.iterations):
        forward.measure(net.forward_with_loss)
        backward.measure(net.run_backward)
        if iteration < 0:           # the first pass chooses algorithms and takes memory
            forward.clear()
            backward.clear()
            log.info("Timing %d iterations, phase %s", args.iterations, args.phase)
            if not any(net.blob_loss_weights.values()):
                log.info("The net has no loss: nothing needs a backward pass")
        else:
            progress.step()
    print(report(net, forward, backward, args.iterations))
    return 0


def report(net: Net, forward: Stopwatch, backward: Stopwatch, iterations: int) -> str:
    """The table of the layers and the totals, in milliseconds for one iteration."""
    whole = forward.whole + backward.whole
    rows = [(layer.name, layer.type, f"{there / iterations:.3f}", f"{back / iterations:.3f}",
             f"{100 * (there + back) / whole:.1f} %")
            for layer, there, back in zip(net.engine_layers, forward.ms, backward.ms, strict=True)]
    totals = (("Average forward pass", forward.whole / iterations),
              ("Average backward pass", backward.whole / iterations),
              ("Average forward-backward", whole / iterations), ("Total time", whole))
    return "\n".join([table(("layer", "type", "forward ms", "backward ms", "share"), rows, numbers=(2, 3, 4)), "",
                      *(f"{what}: {value:.3f} ms" for what, value in totals)])
