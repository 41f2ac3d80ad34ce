"""Progress reports of a training run: lines of text for people, lines of JSON for programs."""
from __future__ import annotations

import datetime
import math
import os
import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np

from utils import other_caffe
from utils.errors import UserError
from utils.files import append_json_lines, read_json_lines, write_json_lines
from utils.weights import weights_problem


class LossError(UserError):
    """Training has diverged: the loss is NaN or infinite."""


_UNCHECKED = 4096   # maximum number of losses kept until they are checked


def check_weights(net: other_caffe.Net, when: str) -> None:
    """Raise LossError if a net to be saved has weights that are NaN or infinite; `when` is for the message."""
    problem = weights_problem(net)
    if problem:
        raise LossError(f"{problem} {when}, and are not saved: training has diverged. Lower base_lr in the solver, and "
                        "resume from an older checkpoint or start over")


@dataclass(frozen=True)
class StepOfRun:
    """Position of a stage in a run of several steps, and what remains after it.

    number, of   the step's number, from 1, and the number of steps
    seconds      expected for the later steps of a kind of which one has finished
    iterations   of the other later steps: one is assumed to take as long as an iteration of this stage
    """

    number: int
    of: int
    seconds: float = 0.0
    iterations: int = 0


class Listener(Protocol):
    """Receives what a TrainLog reports, such as a writer for TensorBoard."""

    def start(self, iteration: int) -> None:
        """Training starts, or resumes, after an iteration."""

    def report(self, record: Mapping[str, Any]) -> None:
        """A new line of the log."""

    def validation(self, iteration: int, figures: Mapping[str, float], pictures: Sequence[np.ndarray]) -> None:
        """The result of a validation, and images (height, width, 3) BGR with detections."""


class TrainLog:
    """Reports the progress of one stage.

    stage      name that starts each line
    max_iters  last iteration of the stage
    path       JSON lines file to append to; None for none
    stream     for the lines of text; None for the standard output
    step       position of the stage in a run; None: it is the only one
    listeners  receive the reports too

    Losses are means over the last `average_loss` iterations of the solver, stats are those of the last minibatch.
    Each JSON line holds iteration, stage, loss (their weighted sum), losses (by output blob), stats (by layer: the
    dictionary `stats` of a layer that has one, such as OHEM's mean loss of all and of hard RoIs), lr, seconds (per
    iteration since the previous line) and, if known, peak_mb and data: `wait`, the fraction of the time since the
    previous line spent waiting for minibatches, and `queue`, the mean number of minibatches ready when one was
    requested.
    """

    def __init__(self, stage: str, max_iters: int, path: str | os.PathLike | None = None,
                 stream: TextIO | None = None, step: StepOfRun | None = None,
                 listeners: Sequence[Listener] = ()) -> None:
        self.step, self.listeners = step, listeners
        self.stage, self.max_iters = stage, max_iters
        self.path = Path(path) if path else None
        self.stream = stream or sys.stdout
        self._last = (0, time.perf_counter())

    def start(self, iteration: int) -> None:
        """Training starts at `iteration`: later lines, left by a run that died, are removed from the file."""
        self._last = (iteration, time.perf_counter())
        if self.path and self.path.exists():
            kept = [record for record in read_json_lines(self.path, iteration=int) if record["iteration"] <= iteration]
            write_json_lines(self.path, kept)
        for listener in self.listeners:
            listener.start(iteration)

    def report(self, iteration: int, losses: Mapping[str, float], loss: float, lr: float,
               stats: Mapping[str, Mapping[str, float]] | None = None, peak_mb: float | None = None,
               data: Mapping[str, float] | None = None, trouble: str = "") -> None:
        """Print and record one line. Raises LossError, after recording it, if the loss is not finite.

        data     the result of the data layer's `Waits.take` since the previous line
        trouble  what is not finite, with its layer and iteration, if known; if given, LossError is raised too
        """
        iterations, seconds = self._interval(iteration)
        record = {"iteration": iteration, "stage": self.stage, "loss": loss, "losses": dict(losses), "lr": lr,
                  "seconds": round(seconds, 4), **({} if peak_mb is None else {"peak_mb": round(peak_mb)}),
                  "stats": {name: dict(values) for name, values in (stats or {}).items()}}
        if data:
            record["data"] = {"wait": round(data["wait"] / max(iterations * seconds, 1e-9), 5),
                              "queue": round(data["queue"], 2)}
        print(self._line(record), file=self.stream, flush=True)
        self._append(record)
        for listener in self.listeners:
            listener.report(record)
        if trouble or not math.isfinite(loss):
            trouble = trouble or f"the loss is {loss} at iteration {iteration}"
            raise LossError(
                f"{self.stage}: {trouble}: training has diverged. Lower "
                f"base_lr in the solver (the learning rate is {lr:g}), and check that the annotated boxes "
                "and the initial weights are sound")

    def leave_out(self, seconds: float) -> None:
        """Exclude these seconds, which were not spent on training, from the times in the next line."""
        iteration, then = self._last
        self._last = (iteration, then + seconds)

    def say(self, message: str) -> None:
        """Print a line that is not about losses."""
        print(f"{self.stage}  {message}", file=self.stream, flush=True)

    def _interval(self, iteration: int) -> tuple[int, float]:
        """Iterations since the previous line, and seconds per iteration."""
        (before, then), now = self._last, time.perf_counter()
        self._last = (iteration, now)
        iterations = max(iteration - before, 1)
        return iterations, (now - then) / iterations

    def _line(self, record: Mapping[str, Any]) -> str:
        groups = list(record["stats"].values()) or [record["losses"]]
        details = [f"{name} {value:.3g}" for values in groups for name, value in values.items()]
        data = "  data {wait:.1%} queue {queue:.2g}".format(**record["data"]) if "data" in record else ""
        left = record["seconds"] * (self.max_iters - record["iteration"])
        return (f"{self.stage}  iter {record['iteration']}/{self.max_iters}  loss {record['loss']:.4g}"
                + (f" ({', '.join(details)})" if details else "")
                + f"  lr {record['lr']:g}  {record['seconds']:.2f} s/iter{data}  ETA {_clock(left)}"
                + self._rest(left, record["seconds"])
                + (f"  peak {record['peak_mb']} MB" if "peak_mb" in record else ""))

    def _rest(self, left: float, seconds: float) -> str:
        """Position of the stage in its run, and time until the run is done; `seconds` is per iteration."""
        if not self.step:
            return ""
        left += self.step.seconds + self.step.iterations * seconds
        return f"  step {self.step.number} of {self.step.of}, all done in {_clock(left)}"

    def _append(self, record: Mapping[str, Any]) -> None:
        """Append to the file; if that fails, as on a full disk, report it and drop the line."""
        if self.path:
            try:
                append_json_lines(self.path, [record])
            except OSError as error:
                self.say(f"{self.path}: {(error.strerror or '').lower()}: this line is not recorded")


def read_log(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The records in the file of a `TrainLog`, in order. Raises DamagedFileError."""
    return read_json_lines(path, stage=str, iteration=int, loss=(int, float), losses=dict, lr=(int, float),
                           seconds=(int, float))


def loss_curves(records: Iterable[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Points (iteration, loss) of each loss in the records of a stage, and of their weighted "sum" if several."""
    curves: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for record in records:
        losses = record["losses"]
        for name, value in (losses if len(losses) == 1 else {**losses, "sum": record["loss"]}).items():
            curves[name].append((record["iteration"], float(value)))
    return dict(curves)


def _clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))


class RecentLosses:
    """Running mean of each loss output of a net over all forward passes of the last iterations.

    If the Caffe has device tensors, only `means` and `trouble` synchronise with the device. Caffes that do not report
    the end of a pass provide only the last pass of each iteration: call `iteration_done` after every iteration.

    weights  loss weight of each output
    """

    def __init__(self, net: other_caffe.Net, average_loss: int, iter_size: int) -> None:
        self._net = net
        self.weights = other_caffe.loss_weights(net)
        self._every_pass = other_caffe.after_every_pass(net, self._add)
        passes = max(1, average_loss) * (max(1, iter_size) if self._every_pass else 1)
        self._values: dict[str, deque[Any]] = {name: deque(maxlen=passes) for name in self.weights}
        self._iteration = 0
        self._unchecked: deque[tuple[int, str, Any]] = deque(maxlen=_UNCHECKED)     # iteration, output, loss

    def start(self, iteration: int) -> None:
        """Training starts, or resumes, after `iteration`."""
        self._iteration = iteration

    def iteration_done(self) -> None:
        """An iteration has ended."""
        if not self._every_pass:
            self._add()
        self._iteration += 1

    def _add(self) -> None:
        for name, values in self._values.items():
            values.append(other_caffe.blob_sum(self._net.blobs[name]))
            self._unchecked.append((self._iteration + 1, name, values[-1]))

    def trouble(self) -> str:
        """The first NaN or infinite loss since the last call, in words, with its iteration; '' if there is none.

        Synchronises with the device, once if all are finite.
        """
        unchecked = list(self._unchecked)
        self._unchecked.clear()
        if math.isfinite(float(sum(value for _, _, value in unchecked))):
            return ""
        found = ((iteration, name, float(value)) for iteration, name, value in unchecked)
        return next((f"the loss is {value} at iteration {iteration} (output {name})"
                     for iteration, name, value in found if not math.isfinite(value)), "")

    def means(self) -> dict[str, float]:
        """Mean of each loss output, without its weight."""
        return {name: float(sum(values) / len(values)) for name, values in self._values.items() if values}
