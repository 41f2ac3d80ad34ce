"""Wall time of a training that may be interrupted and resumed, and the load of the machine meanwhile."""
from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from utils.files import read_json, write_json

_POLL, _SAVE = 0.5, 10.0        # seconds between two looks at the run's files, and between two writings of the clock


class Clock:
    """The attempts of a training in the file `clock.json` of a folder: [[start, end, mean load], ...].

    After a kill an attempt ends where it was last seen.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "clock.json"
        self._attempts: list[list[float]] = read_json(self._path) if self._path.is_file() else []

    def seconds(self, until: float = float("inf")) -> float:
        """Seconds of all attempts before a time, such as that of a file."""
        return sum(max(0.0, min(end, until) - start) for start, end, _ in self._attempts)

    @property
    def load(self) -> float:
        """Mean load of the machine over the attempts; NaN before the first."""
        total = self.seconds()
        return sum((end - start) * load for start, end, load in self._attempts) / total if total else float("nan")

    @contextlib.contextmanager
    def running(self, look: Callable[[], object] = lambda: None) -> Iterator[None]:
        """An attempt; meanwhile `look` is called again and again, and once after it."""
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
