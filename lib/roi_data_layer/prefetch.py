"""Prepares numbered items ahead of their use, in threads."""
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Prefetcher(Generic[Item]):
    """Gives make(0), make(1), ... in order; a few of them are prepared in the background.

    `make` must depend on its number alone (and may run in several threads at once), so the items are the same
    as
    without prefetching. Threads suffice: decoding and scaling images release Python's lock. An error of
    `make` is
    raised by the `next` that would have given its item.
    """

    def __init__(self, make: Callable[[int], Item], workers: int = 2, ahead: int = 4):
        self._make, self._ahead = make, ahead
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
        self._pending: deque[Future[Item]] = deque()
        self._first = 0         # number of the oldest pending item

    def seek(self, number: int) -> None:
        """Continue with make(number); what was prepared for other numbers is dropped."""
        for future in self._pending:
            future.cancel()
        self._pending.clear()
        self._first = number

    def next(self) -> Item:
        """The next item; waits for it if it is not ready."""
        while len(self._pending) < self._ahead:
            self._pending.append(self._pool.submit(self._make, self._first + len(self._pending)))
        self._first += 1
        return self._pending.popleft().result()

    def close(self) -> None:
        """Stop the threads, after the items they are working on."""
        self.seek(self._first)
        self._pool.shutdown(wait=True, cancel_futures=True)
