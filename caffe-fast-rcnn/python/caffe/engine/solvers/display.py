"""The log lines of training and testing, worded as in BVLC Caffe, for scripts that parse its logs."""
from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Mapping

import torch

log = logging.getLogger("caffe")

_SHOWN = 10     # maximum number of values shown per output


class Progress:
    """Speed and remaining time, measured between log lines."""

    def __init__(self) -> None:
        self._time: float | None = None
        self._iteration = 0

    def describe(self, iteration: int, last: int) -> str:
        """'12.3 iter/s, 1.63s/20 iters, ETA 1:02:03'; empty for the first line, without ETA once `last` is passed."""
        now = time.perf_counter()
        before, done = self._time, iteration - self._iteration
        self._time, self._iteration = now, iteration
        if before is None or done <= 0:
            return ""
        lapse = max(now - before, 1e-9)
        left = datetime.timedelta(seconds=round((last - iteration) * lapse / done))
        return f"{done / lapse:.6g} iter/s, {lapse:.6g}s/{done} iters" + (f", ETA {left}" if last > iteration else "")


def show_loss(iteration: int, loss: float, speed: str = "") -> None:
    """Log one line: 'Iteration 20 (12.3 iter/s, 1.63s/20 iters, ETA 0:01:20), loss = 0.69'."""
    log.info("Iteration %d%s, loss = %.6g", iteration, f" ({speed})" if speed else "", loss)


def warn_of_loss(iteration: int, loss: float) -> None:
    """Warn of a loss that is NaN or infinite."""
    log.warning("Iteration %d: the loss is %g, from which the weights will not recover: train again with a smaller "
                "base_lr, or with clip_gradients, from the start or from an earlier snapshot. If this happens at "
                "once, check the data", iteration, loss)


def show_rate(iteration: int, rate: float) -> None:
    """Log one line: 'Iteration 20, lr = 0.001'."""
    log.info("Iteration %d, lr = %.6g", iteration, rate)


def show_outputs(phase: str, values: Mapping[str, torch.Tensor], loss_weights: Mapping[str, float]) -> None:
    """Log one line for each value of each output, with its share of the total loss if it is a loss.

    phase   Train or Test: '    Train net output #0: loss = 0.69 (* 1 = 0.69 loss)'
    """
    first = 0
    for name, tensor in values.items():
        weight = loss_weights.get(name, 0.0)
        for index, number in enumerate(tensor.flatten()[:_SHOWN].tolist()):
            share = f" (* {weight:g} = {weight * number:.6g} loss)" if weight else ""
            log.info("    %s net output #%d: %s = %.6g%s", phase, first + index, name, number, share)
        if tensor.numel() > _SHOWN:
            log.info("    %s net output %s has %d more values", phase, name, tensor.numel() - _SHOWN)
        first += tensor.numel()
