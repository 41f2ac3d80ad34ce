"""Wall time of a training that may be interrupted and resumed, and the machine's load during it."""
from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from utils.files import read_json, write_json

_POLL, _SAVE = 0.5, 10.0        # seconds between two calls of `look`, and between two writes of the clock's file


class Clock:
    """Records the attempts at a training in `clock.json` of a folder: [[start, end, mean load], ...].

    An attempt that was killed ends when the file was last written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "clock.json"
        self._attempts: list[list[float]] = read_json(self._path) if self._path.is_file() else []

    def seconds(self, until: float = float("inf")) -> float:
        """Total seconds of all attempts before the time `until`, such as a file's modification time."""
        return sum(max(0.0, min(end, until) - start) for start, end, _ in self._attempts)

    @property
    def load(self) -> float:
        """The machine's mean load over all attempts; NaN before the first."""
        total = self.seconds()
        return sum((end - start) * load for start, end, load in self._attempts) / total if total else float("nan")

    @contextlib.contextmanager
    def running(self, look: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Record an attempt; `look` is called repeatedly during it, and once after it."""
        attempt = [time.time(), time.time(), os.getloadavg()[0]]
        self._attempts.append(attempt)
        ended = threading.Event()
        watch = threading.Thread(target=self._watch, args=(attempt, ended, look), daemon=True)
        watch.start()
        try:
            yield
        finally:
            ended.set()
            watch.join()
            attempt[1] = time.time()
            look()
            self._save()

    def _watch(self, attempt: list[float], ended: threading.Event, look: Callable[[], object]) -> None:
        loads, saved = [attempt[2]], 0.0
        while not ended.wait(_POLL):
            look()
            loads.append(os.getloadavg()[0])
            attempt[1:] = time.time(), sum(loads) / len(loads)
            if attempt[1] > saved + _SAVE:
                self._save()
                saved = attempt[1]

    def _save(self) -> None:
        write_json(self._path, self._attempts)
