"""Hooks of the training loop: the log, snapshots, checkpoints, stopping, profiling, and those of the user."""
from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fast_rcnn.checkpoints import Checkpoints
from fast_rcnn.train_log import RecentLosses, TrainLog
from utils import parallel
from utils.child_process import StopRequest
from utils.other_caffe import Solver, can_snapshot_to, learning_rate, peak_memory_mb, set_base_lr, stop_function
from utils.profiling import profiled
from utils.python_layer import layer_name, layers_with
from utils.weights import weights_problem


class TrainingStopped(Exception):
    """Training was asked to stop, after `iteration`; `has_checkpoint` if one was written, to resume from."""

    def __init__(self, iteration: int, has_checkpoint: bool) -> None:
        super().__init__(f"stopped after iteration {iteration}" + ("" if has_checkpoint else ", without a checkpoint"))
        self.iteration, self.has_checkpoint = iteration, has_checkpoint


@dataclass
class Training:
    """The state of a training run, as hooks see it.

    solver         with its `net` and `iter`
    max_iters      the last iteration; a hook ends the training by setting it to the current one
    losses         of the last iterations, on the device
    save           writes a snapshot and returns its path
    snapshot_path  returns the path of the snapshot that `save` would write now
    stop           the request to stop, if there was one
    is_unfinished  set by a hook that was asked to stop before it finished its work after this iteration: training stops
                   here, even after the last iteration, so that the hook can resume from its checkpoint
    contexts       contexts that `at_start` enters here are closed when training ends, is stopped or fails
    step_contexts  contexts that `before_iteration` enters here are closed after the solver's step
    """

    solver: Solver  # of `caffe.get_solver`: the public classes have no common base
    max_iters: int
    losses: RecentLosses
    save: Callable[[], str]
    snapshot_path: Callable[[], Path]
    stop: StopRequest = field(default_factory=StopRequest)
    is_unfinished: bool = False
    contexts: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    step_contexts: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def iteration(self) -> int:
        """Number of finished iterations, including those before a resume."""
        return self.solver.iter

    def mean_losses(self) -> dict[str, float]:
        """Mean of each loss output, without its weight, over the solver's `average_loss` iterations and all processes.

        Synchronises with the device and the other processes: all of them must call it.
        """
        return parallel.mean(self.losses.means())


class Hook:
    """Base class of training hooks: override the methods you need.

    Hooks are called in every process, in the order given by `SolverWrapper.train_model`.
    """

    def at_start(self, training: Training) -> None:
        """Before the first iteration, or the first after a resume."""

    def before_iteration(self, training: Training) -> None:
        """Before the solver's step."""

    def after_iteration(self, training: Training) -> None:
        """After the step: `training.iteration` counts it, the weights are updated."""

    def at_end(self, training: Training) -> None:
        """All iterations are done. Not called if training is stopped or fails."""


_makers: list[Callable[[], Hook]] = []
Maker = TypeVar("Maker", bound=Callable[[], Hook])


def register_hook(make: Maker) -> Maker:
    """Add a hook, created by `make`, to every training of this process. Also decorates hook classes."""
    _makers.append(make)
    return make


def registered_hooks() -> list[Hook]:
    """A new hook of each registered kind, in the order of registration."""
    return [make() for make in _makers]


class WarmupHook(Hook):
    """Linear learning rate warm-up: reaches the policy's rate in iteration `iterations`."""

    def __init__(self, base_lr: float, iterations: int) -> None:
        self._base_lr, self._iterations = base_lr, iterations

    def before_iteration(self, training: Training) -> None:
        if training.iteration < self._iterations:
            set_base_lr(training.solver, self._base_lr * (training.iteration + 1) / self._iterations)

    def after_iteration(self, training: Training) -> None:
        if training.iteration == self._iterations:
            set_base_lr(training.solver, self._base_lr)


class LogHook(Hook):
    """Reports every `display` iterations, the first one and the last one, even if another hook ends the training.

    It is the only built-in hook that reads losses: the others do not synchronise with the device. A loss that is not
    finite is reported with the iteration where it was computed.
    """

    def __init__(self, log: TrainLog, display: int) -> None:
        self._log, self._display = log, display

    def at_start(self, training: Training) -> None:
        self._log.start(training.iteration)
        self._reported = training.iteration
        training.losses.start(training.iteration)

    def before_iteration(self, training: Training) -> None:
        self._lr = learning_rate(training.solver)

    def after_iteration(self, training: Training) -> None:
        if training.iteration % self._display == 0 or training.iteration in (1, training.max_iters):
            self._report(training)

    def at_end(self, training: Training) -> None:
        if training.iteration != self._reported:
            self._report(training)

    def _report(self, training: Training) -> None:
        self._reported = training.iteration
        net, losses = training.solver.net, training.mean_losses()
        loss = sum(value * training.losses.weights[name] for name, value in losses.items())
        stats = {layer_name(layer): found for layer in net.layers if (found := getattr(layer, "stats", None))}
        waits = next((layer.waits for layer in layers_with(net, "waits")), None)
        found = [training.losses.trouble(), weights_problem(net)]
        if found[1]:
            found[1] += f" after iteration {training.iteration}"
        self._log.report(training.iteration, losses, loss, self._lr, stats, peak_memory_mb(), waits and waits.take(),
                         ", ".join(filter(None, found)))


class SnapshotHook(Hook):
    """Saves the net every `interval` iterations and at the end.

    paths  of the snapshots, the final one last
    """

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self.paths: list[str] = []

    def after_iteration(self, training: Training) -> None:
        if training.iteration % self._interval == 0 or training.iteration == training.max_iters:
            self.paths.append(training.save())

    def at_end(self, training: Training) -> None:
        if not self.paths:      # resumed after the last iteration
            self.paths.append(training.save())


class CheckpointHook(Hook):
    """Writes a checkpoint every `interval` iterations, but not at the end."""

    def __init__(self, checkpoints: Checkpoints, interval: int) -> None:
        self._checkpoints, self._interval = checkpoints, interval

    def after_iteration(self, training: Training) -> None:
        if training.iteration % self._interval == 0 and training.iteration < training.max_iters:
            self._checkpoints.write(training.solver)


class EndStateHook(Hook):
    """Writes a checkpoint at the end, from which a longer training resumes; on a full disk training still succeeds."""

    def __init__(self, end_state: Checkpoints, log: TrainLog) -> None:
        self._end_state, self._log = end_state, log

    def at_end(self, training: Training) -> None:
        try:
            self._end_state.write(training.solver)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self._log.say(f"{self._end_state.folder}: {reason}: a longer training would start over")


class StopHook(Hook):
    """Handles SIGTERM, SIGHUP and Ctrl-C, sent to any process, after the current iteration.

    Writes a checkpoint, if `checkpoints` is given and this Caffe can, and raises TrainingStopped.
    """

    def __init__(self, checkpoints: Checkpoints | None) -> None:
        self._checkpoints = checkpoints

    def at_start(self, training: Training) -> None:
        stop = training.contexts.enter_context(training.stop)
        self._is_stopped = stop_function(training.solver, lambda: stop.requested)

    def after_iteration(self, training: Training) -> None:
        if training.is_unfinished or self._is_stopped() and training.iteration < training.max_iters:
            if self._checkpoints:
                self._checkpoints.write(training.solver)
            raise TrainingStopped(training.iteration,
                                  self._checkpoints is not None and can_snapshot_to(training.solver))


class ProfileHook(Hook):
    """Profiles some iterations; see `profiled`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def at_start(self, training: Training) -> None:
        self._iteration = training.contexts.enter_context(
            profiled(training.solver, self._path, training.max_iters - training.iteration))

    def before_iteration(self, training: Training) -> None:
        training.step_contexts.enter_context(self._iteration())
