"""Worker processes that read and prepare images for the training process.

Images are returned in shared memory: nothing is copied through a pipe. The memory is unnamed, so that it is freed when
the last process that uses it ends, however it ends. The workers are spawned, not forked, because forking a process
that has threads or uses CUDA is not safe.
"""
from __future__ import annotations

import contextlib
import json
import mmap
import os
import queue
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from utils.child_process import describe_status
from utils.files import naming
from utils.images import ImageError, ImageRequest, PreparedImage

_CHANNELS = 3
_PATIENCE = 5.0         # seconds that a process may take to finish its last image before it is killed
_START = ("import sys; sys.path[:] = sys.argv[2:]; "
          f"from {__package__}.image_worker import main; main(int(sys.argv[1]))")
_ENVIRONMENT = {
    # A worker computes in one thread; by default NumPy's BLAS would start one per core on import.
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    # Has glibc keep the memory of the arrays of each image for the next: 1.6 times as fast, without page faults.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}


class ImageWorkerDied(ImageError):
    """The process preparing an image died."""


class ImagePool:
    """A pool of processes that prepare images; its `read` is a thread-safe `Reader`.

    workers  number of processes
    images   most images per `read`
    pixels   most pixels per prepared image, see `most_pixels`

    Close it at the end; otherwise the processes end with the pool object or this process.
    """

    def __init__(self, workers: int, images: int, pixels: int) -> None:
        self._workers = [_Worker(_CHANNELS * pixels, images) for _ in range(workers)]
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._stop = weakref.finalize(self, _stop_all, self._workers)

    @property
    def process_ids(self) -> list[int]:
        """Ids of the processes started last."""
        return [worker.process.pid for worker in self._workers]

    @contextlib.contextmanager
    def read(self, requests: Sequence[ImageRequest]) -> Iterator[list[PreparedImage]]:
        """The prepared images, in memory that is reused after the block; waits for a free process.

        Raises ImageError naming the image that cannot be read or whose process died; the next requests then get a new
        process.
        """
        if not self._stop.alive:
            raise RuntimeError("the processes that prepare images have been stopped")
        worker = self._idle.get()
        try:
            yield worker.prepare(requests)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Stop the worker processes."""
        self._stop()


def _stop_all(workers: Sequence[_Worker]) -> None:
    for worker in workers:          # all of them first, so that they end concurrently
        worker.end_input()
    for worker in workers:
        worker.wait()


class _Worker:
    """One process, and the memory shared with it; restarted if it dies."""

    def __init__(self, floats: int, images: int) -> None:
        self._floats, self._images = floats, images
        self._start()

    def _start(self) -> None:
        size = self._floats * self._images * np.dtype(np.float32).itemsize
        with naming(f"memory for prepared images ({size >> 20} MB for each of NUM_WORKERS processes)"):
            descriptor = _shared_memory(size)
        try:
            with naming("memory for prepared images"):
                self._memory = np.frombuffer(mmap.mmap(descriptor, size), np.float32)
            # A new session, so that Ctrl-C reaches only the parent, which shuts the worker down in order.
            self.process = subprocess.Popen(
                [sys.executable, "-c", _START, str(descriptor), *sys.path], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, pass_fds=[descriptor], start_new_session=True,
                env={**os.environ, **_ENVIRONMENT})
        finally:
            os.close(descriptor)

    def prepare(self, requests: Sequence[ImageRequest]) -> list[PreparedImage]:
        """The prepared images, as views of the shared memory."""
        if self.process.returncode is not None:
            self._start()
        if len(requests) > self._images:
            raise ValueError(f"{len(requests)} images requested at once, there is room for {self._images}")
        return [self._prepare(index * self._floats, request) for index, request in enumerate(requests)]

    def _prepare(self, offset: int, request: ImageRequest) -> PreparedImage:
        answer = self._ask([offset, *request], request.path)
        if "error" in answer:
            raise ImageError(answer["error"])
        if "bug" in answer:
            raise RuntimeError(f"{request.path}: preparing the image failed:\n{answer['bug']}")
        shape = answer["shape"]
        planes = self._memory[offset:offset + int(np.prod(shape))].reshape(shape)
        return PreparedImage(planes.transpose(1, 2, 0), answer["scale"], tuple(answer["file_size"]))

    def _ask(self, question: list[Any], path: str) -> dict[str, Any]:
        to_child, from_child = self.process.stdin, self.process.stdout
        assert to_child and from_child
        try:
            to_child.write(json.dumps(question).encode() + b"\n")
            to_child.flush()
            line = from_child.readline()
        except BrokenPipeError:
            line = b""
        except BaseException:       # such as Ctrl-C: the pending answer must not be taken for that of a later request
            _stop_all([self])
            raise
        if not line.endswith(b"\n"):
            self.end_input()
            raise ImageWorkerDied(f"{path}: the process that was to prepare the image died "
                                  f"({describe_status(self.wait())})")
        return json.loads(line)

    def end_input(self) -> None:
        """Tell the process that no more requests will follow."""
        if self.process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()

    def wait(self) -> int:
        """Wait until the process has ended, or kill it; returns the exit status."""
        try:
            status = self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        return status


def _shared_memory(size: int) -> int:
    """Descriptor of an unnamed file in memory (on disk on systems without these)."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("images")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor
