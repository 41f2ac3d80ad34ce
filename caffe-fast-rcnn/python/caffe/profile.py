"""Where the time of a net or a solver goes: tables like those of `caffe time`, and traces for Chrome and Perfetto."""
from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .engine.layer import Layer
from .engine.net import Net
from .engine.solvers import Solver
from .spans import BACKWARD, FORWARD, OTHER, Clock, Recorder, Span, active, observe
from .tables import table

ITERATION, UPDATE = "iteration", "update"


class LayerTimes:
    """Adds up spans: the time of each layer in each direction, and of everything else by name.

    layers  the layers of the net
    whole   total seconds of the added spans
    of      name of an outermost span -> its seconds
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self._own: dict[tuple[str, int | str], float] = defaultdict(float)
        self.of: dict[str, float] = defaultdict(float)

    def add(self, spans: Sequence[Span]) -> None:
        """Add spans. An outermost span's own time is 'other'."""
        for span in spans:
            if span.outer == 0:
                self.of[span.name] += span.seconds
            key: int | str = span.layer if span.layer is not None else span.name if span.outer else OTHER
            self._own[span.kind, key] += span.own

    @property
    def whole(self) -> float:
        """Total seconds."""
        return sum(self.of.values())

    def outside(self) -> dict[str, float]:
        """Seconds outside of layers, by name; 'other' comes last."""
        found = {str(name): seconds for (kind, name), seconds in self._own.items() if kind == OTHER}
        return dict(sorted(found.items(), key=lambda item: item[0] == OTHER))

    def table(self, iterations: int) -> str:
        """Milliseconds of one iteration: one row per layer, then everything else. The rows add up to the whole."""
        def row(*seconds: float) -> list[str]:
            share = sum(seconds) / self.whole if self.whole else 0.0
            return [*(f"{1000 * value / iterations:.3f}" for value in seconds), f"{100 * share:.1f} %"]

        layers = [[layer.name, layer.type, *row(self._own[FORWARD, index], self._own[BACKWARD, index])]
                  for index, layer in enumerate(self._layers)]
        others = [[name, *row(seconds)] for name, seconds in self.outside().items()]
        return "\n".join([table(("layer", "type", "forward ms", "backward ms", "share"), layers, numbers=(2, 3, 4)),
                          "", table(("outside of layers", "ms", "share"), others, numbers=(1, 2))])


def chrome_trace(spans: Sequence[Span], layers: Sequence[Layer]) -> dict[str, Any]:
    """Spans as JSON of Chrome's trace event format, for chrome://tracing and ui.perfetto.dev."""
    begin = spans[0].start if spans else 0.0
    events: list[dict[str, Any]] = [{"name": "process_name", "ph": "M", "pid": 0, "tid": 0, "args": {"name": "caffe"}}]
    for span in spans:
        name, args = span.name, {}
        if span.layer is not None:
            name, args = f"{span.name} {span.kind}", {"type": layers[span.layer].type}
        events.append({"name": name, "cat": span.kind, "ph": "X", "pid": 0, "tid": 0, "args": args,
                       "ts": 1e6 * (span.start - begin), "dur": 1e6 * span.seconds})
    return {"displayTimeUnit": "ms", "traceEvents": events}


class Profile:
    """Profiles some iterations of a net or a solver, then stops observing it (ours).

        with caffe.Profile(solver, done=lambda profile: print(profile.table())) as profile:
            for _ in range(1000):
                with profile.iteration():
                    solver.step(1)

    source  a Net, or a Solver, whose net and updates are measured
    first   number of warm-up iterations to skip: they choose algorithms and allocate memory
    count   number of iterations to measure
    done    called once with the profile: after the last iteration, or at the end of the block if any was measured
    clock   see `Recorder`

    On a GPU, times are measured by the GPU; the host waits for it only when measuring ends.

    iterations  number of iterations measured so far
    spans       their spans, once measuring has ended
    """

    def __init__(self, source: Net | Solver, first: int = 5, count: int = 20,
                 done: Callable[[Profile], None] | None = None, clock: Clock | None = None) -> None:
        self._solver = source if isinstance(source, Solver) else None
        self._net: Net = source.net if isinstance(source, Solver) else source
        self.first, self._count, self._done = first, count, done
        self._recorder = Recorder(clock)
        self._seen, self._ended = 0, False
        self._stop_observing: Callable[[], None] | None = None
        self.iterations = 0
        self.spans: list[Span] = []

    def __enter__(self) -> Profile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    @property
    def layers(self) -> list[Layer]:
        """The layers of the net."""
        return self._net.engine_layers

    @contextlib.contextmanager
    def iteration(self) -> Iterator[None]:
        """One iteration: a forward pass or a step of the solver, with everything else in the block."""
        self._seen += 1
        if self._ended or self._seen <= self.first:
            yield
            return
        self._stop_observing = self._stop_observing or self._observe()
        try:
            with active(self._recorder), self._recorder.span(ITERATION):
                yield
        except BaseException:
            self._recorder.discard()
            raise
        self.iterations += 1
        if self.iterations == self._count:
            self._end()

    def _observe(self) -> Callable[[], None]:
        stop_net, solver = observe(self._net, self._recorder), self._solver
        if solver is None:
            return stop_net

        def start() -> None:
            """The start of an iteration begins no span."""

        def stop() -> None:
            stop_net()
            solver.remove_callback(start)

        solver.add_callback(start, lambda: self._recorder.begin(UPDATE), self._recorder.end)
        return stop

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._stop_observing:
            self._stop_observing()
        self.spans = self._recorder.take()
        if self.iterations and self._done:
            self._done(self)

    def table(self) -> str:
        """Times of the measured iterations, one row per layer; the rows add up to the iteration."""
        times, count = LayerTimes(self.layers), max(self.iterations, 1)
        times.add(self.spans)
        return "\n".join([times.table(count), "",
                          f"Iteration: {1000 * times.whole / count:.3f} ms, the mean of {self.iterations}"])

    def trace(self) -> dict[str, Any]:
        """The measured iterations in Chrome's trace event format; see `chrome_trace`."""
        return chrome_trace(self.spans, self.layers)
