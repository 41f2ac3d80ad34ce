"""Printing that never fails: output that cannot be written is dropped."""
from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

_GONE = (errno.EPIPE, errno.EIO)        # the reader, such as `head`, or the terminal was closed


class LastingStream:
    """A text stream that drops what it cannot write: the disk is full, or the reader has closed it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write if possible; characters that the stream cannot encode are written as escape sequences."""
        with _tolerated(self._stream):
            try:
                self._stream.write(text)
            except UnicodeEncodeError as error:
                self._stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        return len(text)

    def flush(self) -> None:
        """Flush if possible."""
        with _tolerated(self._stream):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _tolerated(stream: TextIO) -> Iterator[None]:
    """Drop errors of the block, which writes to `stream`; once its reader is gone, redirect it to os.devnull."""
    try:
        yield
    except (OSError, ValueError) as error:      # ValueError: the stream is closed
        if getattr(error, "errno", None) in _GONE:
            with contextlib.suppress(OSError, ValueError), open(os.devnull, "w", encoding="utf-8") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())      # also for what is flushed when the process ends


@contextlib.contextmanager
def lasting_output() -> Iterator[None]:
    """Inside the block, standard output and error drop what they cannot write."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and LastingStream(stream) for stream in before)    # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def say(text: str, stream: TextIO | None, end: str = "\n") -> None:
    """Print and flush a line in one write, so that lines of other threads do not mix with it; errors are dropped."""
    if stream is not None:
        with _tolerated(stream):
            print(f"{text}{end}", end="", file=stream, flush=True)
