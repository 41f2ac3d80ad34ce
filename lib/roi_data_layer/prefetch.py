"""Prefetches numbered items, such as minibatches, in threads; worker processes prepare their images."""
from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from roi_data_layer.image_pool import ImagePool
from utils.images import Reader, read_in_line

Item = TypeVar("Item")
_THREADS = 2        # if there are no worker processes


class Prefetcher(Generic[Item]):
    """Returns make(0), make(1), ... in order, preparing some in the background.

    `make` must depend on its number only (and may run in several threads at once), so that the items are the same
    as without prefetching. An error in `make` is raised by the `next` that would have returned its item.

    workers  threads
    ahead    number of items in preparation or ready while one is used
    count    number of items
    """

    def __init__(self, make: Callable[[int], Item], workers: int = 2, ahead: int = 4, count: int = sys.maxsize) -> None:
        self._make, self._ahead, self._count = make, ahead, count
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
        self._pending: deque[Future[Item]] = deque()
        self._first = 0         # number of the oldest pending item

    def seek(self, number: int) -> None:
        """Continue with make(number); prepared items of other numbers are dropped."""
        for future in self._pending:
            future.cancel()
        self._pending.clear()
        self._first = number

    @property
    def ready(self) -> int:
        """Number of items available without waiting."""
        return sum(future.done() for future in self._pending)

    def next(self) -> Item:
        """The next item; waits for it if it is not ready. Raises IndexError after the last."""
        if self._first >= self._count:
            raise IndexError(f"item {self._first} of {self._count}")
        self._submit(1)
        item = self._pending.popleft()
        self._first += 1
        self._submit(self._ahead)
        return item.result()

    def _submit(self, number: int) -> None:
        """Keep at least `number` items pending, if that many are left."""
        while len(self._pending) < min(number, self._count - self._first):
            self._pending.append(self._pool.submit(self._make, self._first + len(self._pending)))

    def close(self) -> None:
        """Stop the threads, after the items they are working on."""
        self.seek(self._first)
        self._pool.shutdown(wait=True, cancel_futures=True)


class ImageFeed(Prefetcher[Item]):
    """A Prefetcher of items built from images, which worker processes prepare.

    make     returns an item, given its number and a `Reader` for its images
    workers  number of processes; with 0 the threads that build the items also read the images
    images   most images per item
    pixels   most pixels per prepared image, see `most_pixels`
    count    number of items
    """

    def __init__(self, make: Callable[[int, Reader], Item], workers: int, images: int, pixels: int,
                 count: int = sys.maxsize) -> None:
        self._images = ImagePool(workers, images, pixels) if workers else None
        read = self._images.read if self._images else read_in_line
        # One more than processes, to assemble an item while these prepare images of others
        threads = workers + 1 if workers else _THREADS
        super().__init__(lambda number: make(number, read), threads, 2 * threads, count)

    def close(self) -> None:
        super().close()
        if self._images:
            self._images.close()


class Waits:
    """Accumulates the waits for items of a queue; `take` returns the sums and resets them."""

    def __init__(self) -> None:
        self._seconds, self._ready, self._count = 0.0, 0, 0

    def add(self, seconds: float, ready: int) -> None:
        """Record a wait for an item; `ready` items were in the queue when it was requested."""
        self._seconds += seconds
        self._ready += ready
        self._count += 1

    def take(self) -> dict[str, float]:
        """Since the last call: `wait`, total seconds; `queue`, mean number of items ready."""
        taken = {"wait": self._seconds, "queue": self._ready / max(self._count, 1)}
        self._seconds, self._ready, self._count = 0.0, 0, 0
        return taken
