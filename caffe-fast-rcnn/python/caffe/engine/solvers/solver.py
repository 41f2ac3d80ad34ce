"""Solver: the training loop that all algorithms share. Source: src/caffe/solver.cpp, src/caffe/solvers/."""
from __future__ import annotations

import logging
import math
import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ...errors import SolverError
from ...proto import caffe_pb2
from .. import device
from ..blob import Blob
from ..files.caffemodel import copy_weights
from ..net import Net
from . import display, lr_policy, snapshots
from .actions import Action, SignalActions
from .evaluation import check_evaluation, make_evaluation
from .exchange import Exchange
from .param import load_net, read_param, snapshot_prefix, test_net_sources, train_net_source
from .updates import clip, in_range, make_groups, normalise, regularise

log = logging.getLogger("caffe")


class Solver:
    """Trains a net with a solver prototxt. This is the base class; algorithms define `update`.

    solver_file   path of a solver prototxt, or a SolverParameter. Its nets are searched for in the
                  working directory, then in the solver file's folder and its parents.

    net           the training net
    test_nets     the test nets, which use the weights of `net`
    iter          number of updates done
    param         the settings, a SolverParameter
    lr            the learning rate of the next update
    current_step  number of learning rate steps taken by the last update
    stopped_early whether the last `step`, `solve` or test was stopped by request
    groups        the updated parameters, grouped by their multipliers
    history       the algorithm's state: one blob for each of net.learnable_params, `histories` times over

    Every pass reseeds the engine's random numbers from (random_seed, number of the pass), so a restored run draws the
    same numbers as an uninterrupted one. Without a random_seed the seed is that of `caffe.set_random_seed`.

    In a parallel run (engine/parallel.py), N processes do what one process does with N times the iter_size: pass j of
    iteration i, j below N * iter_size, has the number i * N * iter_size + j and runs in process j mod N. Process 0
    tests, logs and writes files.

    Raises PrototxtError, SolverError or LayerError for invalid settings and nets.
    """

    net_type: type[Net] = Net
    exchange_type: type[Exchange] = Exchange
    histories = 1           # history blobs per parameter
    uses_momentum = True
    remembers_decay = False     # whether the history of a frozen parameter accumulates its weight decay

    def __init__(self, solver_file: str | os.PathLike | caffe_pb2.SolverParameter) -> None:
        self.param, self._path = read_param(solver_file)
        self.check()
        if self.param.random_seed >= 0:
            device.set_random_seed(self.param.random_seed)
        self._seed = device.generator().initial_seed()
        self._load_nets()
        if self.param.snapshot:
            snapshots.check_names(self)
        self.iter = 0
        self.current_step = 0
        self.stopped_early = False
        self._action: Callable[[], Action | str] | None = None
        self.groups = make_groups(self.net.params_lr, self.net.params_weight_decay,
                                   frozen=self.remembers_decay and self.param.weight_decay != 0)
        shapes = [blob.shape for blob in self.net.learnable_params]
        self.history = [Blob(*shape) for shape in shapes * self.histories]
        self._losses: deque[torch.Tensor] = deque(maxlen=self.param.average_loss)
        self._progress = display.Progress()
        self._has_warned = False                # of a loss that is NaN or infinite
        self._callbacks: list[tuple[Callable[[], None], Callable[[], None], Callable[[], None] | None]] = []
        self.exchange = self.exchange_type(self)

    def check(self) -> None:
        """Check settings that do not depend on a net. Raises SolverError."""
        if not self.uses_momentum and self.param.momentum:
            raise SolverError(f"{type(self).__name__} does not use momentum; remove it (found "
                              f"{self.param.momentum:g})")
        for name in ("momentum", "delta", "clip_gradients"):
            value = getattr(self.param, name)
            if not math.isfinite(value) and (name, value) != ("clip_gradients", math.inf):      # inf never clips
                raise SolverError(f"{name} must be a finite number, found {value:g}")
        if self.param.average_loss < 1:
            raise SolverError(f"average_loss must be at least 1, found {self.param.average_loss}")
        if self.param.iter_size < 1:
            raise SolverError(f"iter_size must be at least 1, found {self.param.iter_size}")
        check_evaluation(self.param)
        if self.param.snapshot:
            self._check_snapshot_folder()

    def _check_snapshot_folder(self) -> None:
        folder = Path(snapshot_prefix(self.param, self._path)).parent
        if not os.access(folder, os.W_OK):
            raise SolverError(f"snapshot_prefix: cannot write into the folder {folder}; does it exist?")

    def _load_nets(self) -> None:
        param = self.param
        train_state = param.train_state if param.HasField("train_state") else None
        self.net = load_net(self.net_type, train_net_source(param), caffe_pb2.TRAIN, train_state, self._path)
        states = list(param.test_state) or [None] * len(param.test_iter)
        self.test_nets = [load_net(self.net_type, source, caffe_pb2.TEST, state, self._path)
                          for source, state in zip(test_net_sources(param), states, strict=True)]
        for net in self.test_nets:
            net.share_with(self.net)
        for path in (path.strip() for entry in param.weights for path in entry.split(",")):
            self.net.copy_from(path)
            for net in self.test_nets:
                if net.params.keys() - self.net.params.keys():      # layers that the training net lacks
                    copy_weights(net, path, skip_layers=self.net.params)

    # ---- the algorithm
    def update(self, rate: float, weights: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor],
               histories: Sequence[Sequence[torch.Tensor]]) -> None:
        """Change weights and histories in place; gradients may be used as scratch space.

        rate        learning rate times the common multiplier of these parameters
        weights, gradients, and each of the histories   tensors of the same shapes
        """
        raise NotImplementedError(f"{type(self).__name__} has no update")

    def regularise_and_update(self, rate: float, decay: float, weights: list[torch.Tensor],
                              gradients: list[torch.Tensor], histories: list[list[torch.Tensor]]) -> None:
        """Add the gradient of the weight decay, then `update`; an algorithm may do both in one pass."""
        regularise(gradients, weights, decay, self.param.regularization_type)
        self.update(rate, weights, gradients, histories)

    @property
    def lr(self) -> float:
        """The learning rate of the next update."""
        return lr_policy.learning_rate(self.param, self.iter, self._next_step())

    def _next_step(self) -> int:
        return lr_policy.current_step(self.param, self.iter, self.current_step)

    @torch.no_grad()
    def apply_update(self) -> None:
        """Update the weights from the net's gradients, and count the iteration."""
        rate, blobs = self.lr, self.net.learnable_params
        self.current_step = self._next_step()
        if self.param.clip_gradients >= 0:
            clip([blob.grad_to_update() for blob in blobs if blob.has_grad], self.param.clip_gradients)
        for group in self.groups:
            weights = [blobs[index].to_update() for index in group.indices]
            gradients = [blobs[index].grad_to_update() for index in group.indices]
            normalise(gradients, self.param.iter_size * self.exchange.count)
            histories = [[self.history[first + index].to_update() for index in group.indices]
                         for first in range(0, len(self.history), len(blobs))]
            self.regularise_and_update(
                in_range(rate * group.lr_mult, f"the learning rate of iteration {self.iter} times lr_mult"),
                in_range(self.param.weight_decay * group.decay_mult, "weight_decay times decay_mult"),
                weights, gradients, histories)
        self.iter += 1

    # ---- the loop
    def add_callback(self, on_start: Callable[[], None], on_gradients_ready: Callable[[], None],
                     on_updated: Callable[[], None] | None = None) -> None:
        """Call functions before each iteration, between its backward pass and update, and after the update (ours)."""
        self._callbacks.append((on_start, on_gradients_ready, on_updated))

    def remove_callback(self, on_start: Callable[[], None]) -> None:
        """Remove the functions added with this `on_start` (ours)."""
        self._callbacks = [callback for callback in self._callbacks if callback[0] != on_start]

    def step(self, iters: int) -> None:
        """Train for some iterations, with the tests and snapshots that are due."""
        self.stopped_early = False
        for _ in range(iters):
            self._iterate()
            if self.stopped_early:
                return

    def set_action_function(self, function: Callable[[], Action | str] | None) -> None:
        """Call a function after each iteration and between the batches of a test, which returns a request.

        The request is "none", "stop" (leave `step` or `solve`; `stopped_early` is then true) or "snapshot".
        In a parallel run all processes must set a function, it is only called after iterations, and a request to one
        process applies to all.
        """
        self._action = function

    def signal_actions(self, sigint: str = "stop", sighup: str = "snapshot") -> SignalActions:
        """A context in which signals make these requests: `with solver.signal_actions(): solver.solve()`.

        No handlers are installed outside it. A second Ctrl-C interrupts at once.
        """
        return SignalActions(self, Action(sigint), Action(sighup))

    def _act_on_request(self) -> bool:
        """Handle a request between two batches; returns whether to stop."""
        action = self.exchange.agree(Action(self._action())) if self._action else Action.NONE
        if action is Action.SNAPSHOT and self.exchange.is_root:
            self.snapshot()
        self.stopped_early = action is Action.STOP
        return self.stopped_early

    def solve(self, resume_file: str | os.PathLike | None = None) -> None:
        """Train until max_iter, from a solver state if given; then snapshot and test.

        Raises SolverError before training if the snapshot cannot be written.
        """
        if self.param.snapshot_after_train and self.exchange.is_root:
            self._check_snapshot_folder()
            snapshots.check_names(self)
        log.info("Solving %s", self.net.name)
        log.info("Learning Rate Policy: %s", self.param.lr_policy)
        if resume_file is not None:
            self.restore(resume_file)
        self.step(self.param.max_iter - self.iter)
        just_written = self.param.snapshot and self.iter % self.param.snapshot == 0
        if self.param.snapshot_after_train and not just_written and self.exchange.is_root:
            self.snapshot()
        if self.stopped_early:
            log.info("Stopped early, at iteration %d", self.iter)
            return
        if self._is_due(self.param.display):
            self._losses.append(self.net.forward_with_loss())
            self._show_loss()
        if self._is_due_here(self.param.test_interval):
            self.test_all()
        log.info("Optimization Done.")

    def _is_due(self, interval: int) -> bool:
        return interval > 0 and self.iter % interval == 0

    def _is_due_here(self, interval: int) -> bool:
        """As `_is_due`, for work that only the root process does."""
        return self._is_due(interval) and self.exchange.is_root

    def _iterate(self) -> None:
        self.exchange.begin()
        if self._is_due_here(self.param.test_interval) and (self.iter or self.param.test_initialization):
            self.test_all()
            if self.stopped_early:
                return
        self.net.clear_param_diffs()
        self.net.debug_info = self.param.debug_info and self._is_due(self.param.display)
        for on_start, _, _ in self._callbacks:
            on_start()
        self._losses.append(self._forward_backward())
        if self._is_due(self.param.display):
            self._show()
        self.exchange.finish()
        for _, on_gradients_ready, _ in self._callbacks:
            on_gradients_ready()
        self.apply_update()
        for _, _, on_updated in self._callbacks:
            if on_updated:
                on_updated()
        if self._is_due_here(self.param.snapshot):
            self.snapshot()
        self._act_on_request()

    def _forward_backward(self) -> torch.Tensor:
        """Sum the gradients of iter_size batches; returns their mean loss, on the device."""
        losses, size = [], self.param.iter_size
        for number in range(self.iter * size, (self.iter + 1) * size):
            device.seed_pass(self._seed, number * self.exchange.count + self.exchange.rank)
            losses.append(self.net.forward_with_loss())
            if len(losses) == size:
                self.exchange.expect_last_backward()
            self.net.run_backward()
        return sum(losses) / size

    def _show_loss(self, speed: str = "") -> None:
        loss = self.exchange.mean(torch.stack(list(self._losses)).mean()).item()
        if self.exchange.is_root:
            display.show_loss(self.iter, loss, speed)
            if not math.isfinite(loss) and not self._has_warned:
                display.warn_of_loss(self.iter, loss)
                self._has_warned = True

    def _show(self) -> None:
        self._show_loss(self._progress.describe(self.iter, self.param.max_iter))
        if not self.exchange.is_root:
            return
        display.show_outputs("Train", {name: self.net.blobs[name].tensor for name in self.net.outputs},
                             self.net.blob_loss_weights)
        display.show_rate(self.iter, self.lr)

    # ---- testing
    def test_all(self) -> list[dict[str, torch.Tensor]]:
        """Run every test net; returns a list of results as from `test`, which ends where a test was stopped."""
        results: list[dict[str, torch.Tensor]] = []
        self.stopped_early = False
        for index in range(len(self.test_nets)):
            if not self.stopped_early:
                results.append(self.test(index))
        return results

    @torch.no_grad()
    def test(self, index: int = 0) -> dict[str, torch.Tensor]:
        """Run a test net on test_iter batches with the current weights.

        Returns and logs the mean of each output, or with eval_type "detection" its mean average precision; {} if the
        test was stopped.
        """
        net, count = self.test_nets[index], self.param.test_iter[index]
        log.info("Iteration %d, Testing net (#%d)", self.iter, index)
        net.share_with(self.net)
        evaluation = make_evaluation(self.param, count)
        loss = 0.0
        for _ in range(count):
            if self.exchange.count == 1 and self._act_on_request():
                log.info("Test interrupted")
                return {}
            loss += net.forward_with_loss()
            for name in net.outputs:
                evaluation.add(name, net.blobs[name].tensor)
        if self.param.test_compute_loss and count > 0:
            log.info("Test loss: %.6g", float(loss) / count)
        results = evaluation.results()
        display.show_outputs("Test", results, net.blob_loss_weights)
        return results

    def share_weights(self, net: Net) -> None:
        """Make another net use the trained weights, matched by layer name."""
        net.share_with(self.net)

    # ---- files
    def snapshot(self) -> str:
        """Write <prefix>_iter_<n>.caffemodel and .solverstate (with .h5 for snapshot_format HDF5).

        Returns the name of the solver state. Both files are written atomically, the state after the weights.
        """
        return snapshots.write(self, snapshot_prefix(self.param, self._path))

    def restore(self, state_file: str | os.PathLike, weights: str | os.PathLike | None = None) -> None:
        """Resume from a solver state: load the weights that it names, then its history and iteration.

        The weights file is searched for in the working directory, then beside the state; `weights` replaces it.
        Raises WireError, WeightsError or SolverError if the files cannot be read or do not match.
        """
        snapshots.restore(self, Path(state_file), weights)
        self._losses.clear()
        self._progress = display.Progress()
