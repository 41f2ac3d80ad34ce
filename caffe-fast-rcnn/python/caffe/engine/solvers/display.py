"""The log lines of training and testing."""
from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Mapping

import torch

log = logging.getLogger("caffe")

_SHOWN = 10     # values shown of an output that is longer


class Progress:
    """Speed and time left, measured from one log line to the next."""

    def __init__(self) -> None:
        self._time: float | None = None
        self._iteration = 0

    def describe(self, iteration: int, last: int) -> str:
        """'12.3 iter/s, ETA 1:02:03'; empty for the first line, without ETA where `last` is passed."""
        now = time.perf_counter()
        before, done = self._time, iteration - self._iteration
        self._time, self._iteration = now, iteration
        if before is None or done <= 0:
            return ""
        speed = done / max(now - before, 1e-9)
        left = datetime.timedelta(seconds=round((last - iteration) / speed))
        return f"{speed:.3g} iter/s" + (f", ETA {left}" if last > iteration else "")


def show_training(iteration: int, last: int, loss: float, rate: float, speed: str) -> None:
    """Log one line: 'Iteration 20/1000 (12.3 iter/s, ETA 0:01:20), loss = 0.69, lr = 0.001'."""
    total, speed = f"/{last}" if last else "", f" ({speed})" if speed else ""
    log.info("Iteration %d%s%s, loss = %.6g, lr = %.6g", iteration, total, speed, loss, rate)


def show_outputs(values: Mapping[str, torch.Tensor], loss_weights: Mapping[str, float]) -> None:
    """Log one line for each output, with its share of the loss where it is a loss."""
    for name, tensor in values.items():
        numbers = tensor.flatten()[:_SHOWN].tolist()
        text = " ".join(f"{number:.6g}" for number in numbers) + (" ..." if tensor.numel() > _SHOWN else "")
        weight = loss_weights.get(name, 0.0)
        share = f" (* {weight:g} = {weight * sum(numbers):.6g} loss)" if weight and len(numbers) == 1 else ""
        log.info("    %s = %s%s", name, text, share)
