"""The losses of the last iterations, for the training log: a solver's `average_loss` and `iter_size` count."""
from __future__ import annotations

from collections import deque
from typing import Any


class RecentLosses:
    """Gathers each loss output of a net over the last iterations, all passes of each, and gives the means.

    Where the Caffe has device tensors nothing waits for the device until `means` is called. Caffes that do not tell
    when a pass has ended give the last pass of each iteration: `iteration_done` must be called after every one.

    weights  loss weight of each output
    """

    def __init__(self, net: Any, average_loss: int, iter_size: int) -> None:
        self._net = net
        all_weights = getattr(net, "blob_loss_weights", {})
        self.weights = {name: all_weights.get(name, 1) for name in net.outputs if all_weights.get(name, 1)}
        self._every_pass = hasattr(net, "after_forward")
        passes = max(1, average_loss) * (max(1, iter_size) if self._every_pass else 1)
        self._values: dict[str, deque[Any]] = {name: deque(maxlen=passes) for name in self.weights}
        if self._every_pass:
            last = len(net.layers) - 1
            net.after_forward(lambda index: self._add() if index == last else None)

    def iteration_done(self) -> None:
        """An iteration has ended."""
        if not self._every_pass:
            self._add()

    def _add(self) -> None:
        for name, values in self._values.items():
            blob = self._net.blobs[name]
            values.append(blob.tensor.sum() if hasattr(blob, "tensor") else float(blob.data.sum()))

    def means(self) -> dict[str, float]:
        """Mean of each loss output, without its weight."""
        return {name: float(sum(values) / len(values)) for name, values in self._values.items() if values}
