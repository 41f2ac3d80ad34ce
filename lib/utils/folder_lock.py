"""Locks an output folder, so that only one run uses it at a time."""
from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import time
from pathlib import Path

from utils.errors import UserError

_IN_USE = (errno.EAGAIN, errno.EACCES)
OR_ANOTHER_RUN = "--restart discards it, --output DIR starts another one elsewhere"
_HOLDER = re.compile(r"process \d+ on .* since .*\n")      # content of the lock file


class RunError(UserError):
    """A run cannot start or resume; the message says why and what to do."""


def folder_is_taken(folder: str | os.PathLike, found: str) -> RunError:
    """The error for a folder that already holds a run; `found` describes that run's state."""
    return RunError(f"{folder} holds a run already ({found}). Choose: --resume continues it, {OR_ANOTHER_RUN}")


class FolderLock:
    """Keeps other runs out of an output folder while this process, or a child that inherits `fileno`, is alive.

    Raises RunError that names the holder of the lock, or the file if it is not a lock or cannot be locked.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.path = Path(folder, "lock")
        self._file = open(self.path, "a+", encoding="utf-8", errors="replace")
        try:
            self._take(folder)
        except BaseException:
            self._file.close()
            raise

    def _take(self, folder: str | os.PathLike) -> None:
        self._file.seek(0)
        holder = self._file.read(1000)
        if holder and not _HOLDER.fullmatch(holder):
            raise RunError(f"{self.path}: is not the lock of a run; choose another --output, or move this file")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _IN_USE:
                raise RunError(f"{folder} is in use by {holder.strip() or 'another process'}; wait, or choose another "
                               "--output") from None
            raise RunError(f"{self.path}: cannot be locked ({(error.strerror or '').lower()}): its file system has no "
                           "locks, as NFS may; choose an --output on another disk") from None
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}\n")
        self._file.flush()

    def fileno(self) -> int:
        """File descriptor for a child to inherit, so that it holds the lock too."""
        return self._file.fileno()

    def release(self) -> None:
        """Release the lock; the file stays, as its content is only informative."""
        self._file.close()

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()
