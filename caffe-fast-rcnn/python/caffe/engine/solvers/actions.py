"""Requests to a running solver: to stop, or to write a snapshot."""
from __future__ import annotations

import enum
import signal


class Action(str, enum.Enum):
    """A request; also given as a string, "none", "stop" or "snapshot"."""

    NONE = "none"
    STOP = "stop"
    SNAPSHOT = "snapshot"


class SignalActions:
    """Context in which Ctrl-C (SIGINT) and SIGHUP make requests to a solver, and SIGTERM asks it to stop.

    Job schedulers send SIGTERM; BVLC Caffe is killed by it. A second Ctrl-C, before the solver has handled the first,
    interrupts at once. Signals can only be caught in the main thread. Source: src/caffe/util/signal_handler.cpp.
    """

    def __init__(self, solver, sigint: Action, sighup: Action) -> None:
        self._solver = solver
        self._effects: dict[int, Action] = {signal.SIGTERM: Action.STOP, signal.SIGINT: sigint, signal.SIGHUP: sighup}
        self._pending: set[int] = set()
        self._before: dict = {}

    def __enter__(self) -> SignalActions:
        self._before = {number: signal.signal(number, self._note) for number in self._effects}
        self._solver.set_action_function(self.requested)
        return self

    def __exit__(self, *_exception) -> None:
        self._solver.set_action_function(None)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame) -> None:
        if number == signal.SIGINT and number in self._pending and self._effects[number] is not Action.NONE:
            raise KeyboardInterrupt
        self._pending.add(number)

    def requested(self) -> Action:
        """The request of one signal received since the last call; SIGHUP takes precedence."""
        for number, effect in reversed(self._effects.items()):
            if number in self._pending:
                self._pending.discard(number)
                return effect
        return Action.NONE
