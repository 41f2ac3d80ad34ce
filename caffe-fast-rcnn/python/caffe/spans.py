"""Nested spans of time: what a program does, and when.

A `Recorder` keeps them; `observe` lets it record every layer of a net, and `span` whatever else the program names
while some recorder is active. GPU times are taken on the GPU, so nothing waits for it until the spans are
collected.
"""
from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from .engine import device
from .engine.net import Net

FORWARD, BACKWARD, OTHER = "forward", "backward", "other"


@dataclass
class Span:
    """One timed piece of work.

    name         name of the layer or of the work
    kind         'forward' or 'backward' for a layer, else 'other'
    layer        index of the layer in its net; None for other work
    outer        number of enclosing spans
    start, stop  seconds; only differences are meaningful
    own          seconds outside all nested spans
    """

    name: str
    kind: str
    layer: int | None
    outer: int
    start: float = 0.0
    stop: float = 0.0
    own: float = 0.0

    @property
    def seconds(self) -> float:
        """From start to stop."""
        return self.stop - self.start


class Clock(Protocol):
    """Makes time marks; their times are read later."""

    def mark(self) -> Any:
        """Mark the current time."""

    def seconds(self, marks: Sequence[Any]) -> list[float]:
        """The times of marks, which must be given in the order in which they were made."""


class HostClock:
    """Time on the CPU."""

    def mark(self) -> float:
        """Seconds, now."""
        return time.perf_counter()

    def seconds(self, marks: Sequence[float]) -> list[float]:
        """The marks themselves."""
        return list(marks)


class GpuClock:
    """Time on the current GPU: a mark is an event recorded after the work queued on its stream so far."""

    def __init__(self) -> None:
        self._device = device.current_device()

    def mark(self) -> torch.cuda.Event:
        """An event whose time is read later."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def seconds(self, marks: Sequence[torch.cuda.Event]) -> list[float]:
        """Seconds since the first mark; waits for the GPU."""
        torch.cuda.synchronize(self._device)
        return [marks[0].elapsed_time(mark) / 1000 for mark in marks]


class Recorder:
    """Records spans; `clock` is the GPU's where caffe computes on one, else the host's, unless given."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or (GpuClock() if device.current_device().type == "cuda" else HostClock())
        self._spans: list[tuple[Span, int]] = []        # each with the index of its start mark
        self._marks: list[Any] = []
        self._stops: dict[int, int] = {}                # index of a span -> index of its stop mark
        self._open: list[int] = []

    def begin(self, name: str, kind: str = OTHER, layer: int | None = None) -> None:
        """Begin a span, nested in the open ones."""
        self._open.append(len(self._spans))
        self._spans.append((Span(name, kind, layer, len(self._open) - 1), len(self._marks)))
        self._marks.append(self._clock.mark())

    def end(self) -> None:
        """End the innermost open span."""
        self._marks.append(self._clock.mark())
        self._stops[self._open.pop()] = len(self._marks) - 1

    @contextlib.contextmanager
    def span(self, name: str) -> Iterator[None]:
        """A span around the block. After an exception the span stays open: `discard` removes it."""
        outer = len(self._open)
        self.begin(name)
        yield
        while len(self._open) > outer:      # more than one where the block caught an exception of a layer
            self.end()

    def take(self) -> list[Span]:
        """Return and clear the spans recorded so far, in the order in which they began; all must have ended."""
        if self._open:
            raise RuntimeError(f"'{self._spans[self._open[-1]][0].name}' has not ended")
        times = self._clock.seconds(self._marks) if self._marks else []
        around: list[Span] = []
        for number, (span, first) in enumerate(self._spans):
            span.start, span.stop = times[first], times[self._stops[number]]
            span.own = span.seconds
            del around[span.outer:]
            if around:
                around[-1].own -= span.seconds
            around.append(span)
        taken = [span for span, _ in self._spans]
        self._spans, self._marks, self._stops = [], [], {}
        return taken

    def discard(self) -> None:
        """Remove the outermost open span, with everything inside."""
        if self._open:
            del self._spans[self._open[0]:]
            self._open.clear()


def observe(net: Net, recorder: Recorder) -> Callable[[], None]:
    """Start recording the forward and backward passes of each layer of a net; returns a function that stops it."""
    layers = net.engine_layers
    observers: list[Callable[[int], None]] = [
        lambda index: recorder.begin(layers[index].name, FORWARD, index), lambda index: recorder.end(),
        lambda index: recorder.begin(layers[index].name, BACKWARD, index), lambda index: recorder.end()]
    for add, observer in zip((net.before_forward, net.after_forward, net.before_backward, net.after_backward),
                             observers, strict=True):
        add(observer)

    def stop() -> None:
        for observer in observers:
            net.remove_observer(observer)
    return stop


_active: ContextVar[Recorder | None] = ContextVar("active", default=None)     # new threads start without one


@contextlib.contextmanager
def active(recorder: Recorder) -> Iterator[None]:
    """Inside the block, `span` records here."""
    token = _active.set(recorder)
    try:
        yield
    finally:
        _active.reset(token)


def span(name: str) -> contextlib.AbstractContextManager[None]:
    """Name the block's work in the current profile (ours); does nothing without one.

        with caffe.span("data wait"):
            batch = queue.get()
    """
    recorder = _active.get()
    return recorder.span(name) if recorder else contextlib.nullcontext()
