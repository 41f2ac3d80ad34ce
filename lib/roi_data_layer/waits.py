"""How long training waits for its data."""
from __future__ import annotations


class Waits:
    """Counts the waits for items of a queue; `take` gives the sums and starts anew."""

    def __init__(self) -> None:
        self._seconds, self._ready, self._count = 0.0, 0, 0

    def add(self, seconds: float, ready: int) -> None:
        """An item was waited for; `ready` items were in the queue when it was asked for."""
        self._seconds += seconds
        self._ready += ready
        self._count += 1

    def take(self) -> dict[str, float]:
        """`wait`: seconds in all; `queue`: mean number of items that were ready; since the last call."""
        taken = {"wait": self._seconds, "queue": self._ready / max(self._count, 1)}
        self._seconds, self._ready, self._count = 0.0, 0, 0
        return taken
