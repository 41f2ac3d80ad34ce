"""pycaffe's stopwatch."""
from __future__ import annotations

import time

import torch


class Timer:
    """Stopwatch: `start`, `stop`, then read `ms`; synchronises with the GPU if one is used."""

    def __init__(self) -> None:
        self._started = self._stopped = 0.0

    @staticmethod
    def _now() -> float:
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.synchronize()
        return time.perf_counter()

    def start(self) -> None:
        """Start timing."""
        self._started = self._now()

    def stop(self) -> None:
        """Stop timing."""
        self._stopped = self._now()

    @property
    def ms(self) -> float:
        """Milliseconds between start and stop."""
        return 1000.0 * (self._stopped - self._started)
