"""Wall-clock timing, and progress lines for long jobs."""
from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TextIO, TypeVar

Item = TypeVar("Item")


class Timer:
    """Times repeated work: call `tic` before and `toc` after it.

    diff          seconds of the last measurement
    total_time    seconds of all measurements
    calls         number of measurements
    average_time  total_time / calls; 0 before the first
    """

    def __init__(self) -> None:
        self.total_time = self.diff = self.average_time = 0.0
        self.calls = 0
        self.start_time = time.perf_counter()

    def tic(self) -> None:
        """Start measuring."""
        self.start_time = time.perf_counter()

    def toc(self, average: bool = True) -> float:
        """Stop; returns the average so far, or with average=False the seconds just measured."""
        self.diff = time.perf_counter() - self.start_time
        self.total_time += self.diff
        self.calls += 1
        self.average_time = self.total_time / self.calls
        return self.average_time if average else self.diff


class Progress:
    """Prints lines like "im_detect: 12/72 0.123s ETA 0:00:07": done, total, mean seconds per step, time left.

    label     what is being done
    total     number of steps
    seconds   minimum time between two lines; the first and the last step always print
    stream    to print to; the standard output if None
    patience  seconds before the first line: a job that finishes sooner prints nothing
    """

    def __init__(self, label: str, total: int, seconds: float = 5.0, stream: TextIO | None = None,
                 patience: float = 0.0) -> None:
        self.label, self.total, self.seconds, self.patience = label, total, seconds, patience
        self.stream = stream or sys.stdout
        self.done = 0
        self._start = time.perf_counter()
        self._printed = -float("inf")

    def step(self, note: str = "") -> None:
        """Count one more step as done; `note` is appended to the line, if one is printed."""
        self.done += 1
        now = time.perf_counter()
        if now - self._start < self.patience or (self.done < self.total and now - self._printed < self.seconds):
            return
        self._printed = now
        mean = (now - self._start) / self.done
        left = datetime.timedelta(seconds=round(mean * (self.total - self.done)))
        line = f"{self.label}: {self.done}/{self.total} {mean:.3f}s ETA {left} {note}".rstrip()
        print(line, file=self.stream, flush=True)


def with_progress(label: str, items: Sequence[Item], patience: float = 3.0,
                  stream: TextIO | None = None) -> Iterator[Item]:
    """Iterate over the items; print progress (see `Progress`) if it takes longer than `patience` seconds."""
    progress = Progress(label, len(items), stream=stream, patience=patience)
    for item in items:
        yield item
        progress.step()
