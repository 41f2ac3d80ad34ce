"""Validation during training: metrics on a validation set, the best model so far, and early stopping."""
from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fast_rcnn.detector_record import record_of
from fast_rcnn.hooks import Hook, Training
from fast_rcnn.train_log import TrainLog
from utils import parallel
from utils.child_process import terminations_as_interrupts
from utils.files import append_json_lines, atomic_path, copy_file, read_json_lines, write_json_lines
from utils.own_files import OwnFiles

# Returns a model's metrics, first the one to maximise. Optional methods: `check(net)` raises an error if it cannot
# measure models of this training net, `pictures` returns images with detections
Measure = Callable[[Path], Mapping[str, float]]


@dataclass(frozen=True)
class ValidationPlan:
    """When to validate, and when to stop early.

    every     iterations between two validations; there is one more at the end
    patience  validations without a new best result after which training stops; None: no early stopping
    """

    every: int
    patience: int | None = None

    def is_due(self, training: Training) -> bool:
        """Whether to validate after the current iteration."""
        return training.iteration % self.every == 0 or training.iteration == training.max_iters

    def is_over(self, values: list[float]) -> bool:
        """Whether to stop early after these results, given in order."""
        return self.patience is not None and len(values) - 1 - index_of_best(values) >= self.patience


def default_interval(max_iters: int) -> int:
    """Default of `ValidationPlan.every`: a tenth of the iterations."""
    return max(1, max_iters // 10)


def index_of_best(values: list[float]) -> int:
    """Index of the first highest value; NaN counts as the lowest."""
    return max(range(len(values)), key=lambda index: -math.inf if math.isnan(values[index]) else values[index])


def best_model(snapshot: str | os.PathLike) -> Path:
    """Path of the best model of the training that a snapshot belongs to: <prefix>[_<infix>]_best.caffemodel."""
    path = Path(snapshot)
    return path.with_name(f"{path.name.rpartition('_iter_')[0]}_best.caffemodel")


def best_files(snapshot: str) -> list[str]:
    """Names of the best model and its record, for the name of a snapshot."""
    best = best_model(snapshot).name
    return [best, record_of(best).name]


class ValidationHook(Hook):
    """Validates, keeps the best model with its record beside the snapshots, and may stop the training.

    Each result is a line of JSON {"iteration", "stage", "data", "figures", "best"}. A resumed training reads those of
    the same data up to its iteration, so that it keeps the same best model and stops as an uninterrupted one. A
    validation that is due but was not finished is made up for. Being asked to stop ends a validation at once, except in
    a parallel run, whose processes would wait for each other.

    prepare   creates the function that measures a model; called after the solver was created, so that it does not
              change the solver's random numbers
    record    file of the results
    interval  iterations between the training's regular snapshots, which are kept
    data      fingerprint of the validation set
    """

    def __init__(self, prepare: Callable[[], Measure], plan: ValidationPlan, log: TrainLog, record: Path,
                 interval: int, data: str) -> None:
        self._data = data
        self._prepare, self._plan, self._log = prepare, plan, log
        self._record, self._interval = record, interval
        self._values: list[float] = []
        self._iterations: list[int] = []
        self._best: Path | None = None

    def at_start(self, training: Training) -> None:
        self._measure = self._prepare()
        getattr(self._measure, "check", lambda net: None)(training.solver.net)
        self._read_results(training)
        if self._iterations[-1:] == [training.iteration]:
            self._stop_if_over(training)
        elif training.iteration and self._plan.is_due(training):
            self._validate(training)

    def _read_results(self, training: Training) -> None:
        if not self._record.exists():
            return
        kept = [line for line in read_json_lines(self._record, iteration=int, figures=dict)
                if line["iteration"] <= training.iteration and line.get("data") == self._data]
        self._values = [_first(line["figures"]) for line in kept]
        self._iterations = [line["iteration"] for line in kept]
        if parallel.is_first():
            write_json_lines(self._record, kept)
        parallel.wait()

    def after_iteration(self, training: Training) -> None:
        if self._plan.is_due(training) and training.iteration not in self._iterations:
            try:
                self._validate(training)
            except KeyboardInterrupt:
                self._log.say("the validation is not finished; a resumed training begins with it")
                training.is_unfinished = True

    def _stop_if_over(self, training: Training) -> None:
        if self._plan.is_over(self._values):
            self._log.say(f"stops after iteration {training.iteration}: no better result in the last "
                          f"{self._plan.patience} validations")
            training.max_iters = training.iteration

    def at_end(self, training: Training) -> None:
        if self._best:
            best = index_of_best(self._values)
            self._log.say(f"the best model, {self._values[best]:.4f} after iteration {self._iterations[best]}, is "
                          f"{self._best}")

    def _validate(self, training: Training) -> None:
        """Raises KeyboardInterrupt, without a result, if we are asked to stop before the model is measured."""
        start = time.perf_counter()
        is_kept = (training.iteration % self._interval == 0 or training.iteration == training.max_iters
                   or training.snapshot_path().exists())       # such as the last of an earlier training
        model = Path(training.save())
        parallel.wait()     # until the first process has written it
        try:
            self._record_result(training, model, self._figures(training, model))
        finally:
            if parallel.is_first() and not is_kept:
                OwnFiles(model.parent).remove(model.name, record_of(model).name)
            self._log.leave_out(time.perf_counter() - start)
        self._stop_if_over(training)

    def _figures(self, training: Training, model: Path) -> dict[str, float]:
        if parallel.count() > 1:
            return parallel.from_first(dict(self._measure(model)))
        if training.stop.requested:
            raise KeyboardInterrupt
        with terminations_as_interrupts():
            return dict(self._measure(model))

    def _record_result(self, training: Training, model: Path, figures: Mapping[str, float]) -> None:
        self._best = best_model(model)
        self._values.append(_first(figures))
        self._iterations.append(training.iteration)
        best = index_of_best(self._values)
        if parallel.is_first():
            if best == len(self._values) - 1:
                _copy_with_record(model, self._best)
            append_json_lines(self._record, [{
                "iteration": training.iteration, "stage": self._log.stage, "data": self._data, "figures": figures,
                "best": self._iterations[best]}])
        for listener in self._log.listeners:
            listener.validation(training.iteration, figures, getattr(self._measure, "pictures", list)())
        words = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        self._log.say(f"validation after iteration {training.iteration}: {words}; best so far "
                      f"{self._values[best]:.4f} after {self._iterations[best]}")


def _first(figures: Mapping[str, Any]) -> float:
    value = next(iter(figures.values()), None)
    return math.nan if value is None else float(value)


def _copy_with_record(model: Path, target: Path) -> None:
    pairs = [(model, target), (record_of(model), record_of(target))]
    OwnFiles(target.parent).claim(*(new.name for _, new in pairs))
    for old, new in pairs:
        if old.is_file():
            with atomic_path(new) as temporary:
                copy_file(old, temporary)
