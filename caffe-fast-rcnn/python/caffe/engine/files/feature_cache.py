"""A cache of image features, in memory up to a budget and on disk up to a limit."""
from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import tokenize
from pathlib import Path

import numpy as np
import torch

from ...atomic import atomic_path
from .. import device

log = logging.getLogger("caffe")

_MB = 2 ** 20
_FORMAT = 2             # version of the file format: features of other versions are not found
_OWN_FOLDER = re.compile(r"[0-9a-f]{16}")
_OWN_FILE = re.compile(r"[0-9a-f]{32}\.npy|\.[0-9a-f]{32}\.npy\.\d+\.tmp")


class FeatureCache:
    """A folder with features of several nets or weights, each set in a subfolder named by its fingerprint.

    Only files and subfolders with names of the cache are deleted.

    folder     created when the first features are written
    memory_mb  size of the cache in memory; the rest is read from disk
    disk_mb    maximum size of the folder. When it is full, further features are recomputed each time: nothing is
               evicted, because images recur in an order that makes the oldest features the next to be used

    Each of N processes that train together (`caffe.solver_count()`) uses 1/N of both, and reads what the others have
    written to disk.
    """

    def __init__(self, folder: str | os.PathLike, memory_mb: float, disk_mb: float) -> None:
        self.folder = Path(folder)
        self.memory_mb, self.disk_mb = memory_mb, disk_mb
        self._processes = device.solver_count()

    def _path(self, fingerprint: str) -> Path:
        return self.folder / hashlib.sha256(f"{_FORMAT} {fingerprint}".encode()).hexdigest()[:16]

    def holds(self, fingerprint: str) -> bool:
        """Whether features of this fingerprint exist."""
        return self._path(fingerprint).is_dir()

    def open(self, fingerprint: str) -> FeatureStore:
        """The features of this fingerprint; all others are deleted."""
        self._delete_all_but(self._path(fingerprint))
        return FeatureStore(self._path(fingerprint), self.memory_mb, self.disk_mb, self._processes)

    def clear(self) -> None:
        """Delete all features, and the folder if it is then empty."""
        self._delete_all_but(None)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _delete_all_but(self, kept: Path | None) -> None:
        for folder in self.folder.glob("*"):
            if folder == kept or not _OWN_FOLDER.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
                continue
            with contextlib.suppress(OSError):      # such as a user's file in it, or another process
                for path in folder.iterdir():
                    if _OWN_FILE.fullmatch(path.name):
                        path.unlink(missing_ok=True)
                folder.rmdir()

    def fits(self, values: int, images: int) -> bool:
        """Whether features of at least half of the images, `values` each, fit where this process can read them."""
        size = device.factor_type(torch.float32).itemsize
        return values * images * size <= 2 * _MB * (self.memory_mb / self._processes + self.disk_mb)


class FeatureStore:
    """Features (C, H, W) by key, one file each; written atomically, so other processes may read them meanwhile.

    A file ends with a digest of its content, which is verified when a process first reads it.
    """

    def __init__(self, folder: Path, memory_mb: float, disk_mb: float, processes: int = 1) -> None:
        """Open the store for one of `processes` that fill the folder together and divide the remaining space."""
        self.folder = folder
        self._memory: dict[str, torch.Tensor] = {}
        self._files: set[str] = set()       # known stems; other processes add more
        self._unreadable: set[str] = set()
        self._sound: set[str] = set()       # stems of files that this process has verified or written
        taken = 0
        for path in folder.glob("*.npy"):
            self._files.add(path.stem)
            taken += path.stat().st_size
        self._memory_left, self._disk_left = memory_mb * _MB / processes, (disk_mb * _MB - taken) / processes

    def __contains__(self, key: str) -> bool:
        return key in self._memory or self._has_file(_name(key))

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _has_file(self, name: str) -> bool:
        if name not in self._files and name not in self._unreadable and self._path(name).is_file():
            self._files.add(name)
        return name in self._files

    def get(self, key: str) -> torch.Tensor | None:
        """The features of a key, channels innermost in memory; None if they are not cached."""
        if key in self._memory:
            return self._memory[key]
        name = _name(key)
        if not self._has_file(name):
            return None
        try:
            features = _read(self._path(name), check=name not in self._sound)
        except (OSError, ValueError, EOFError, MemoryError, OverflowError, TypeError, tokenize.TokenError) as error:
            # the folder was cleared, or the disk failed; a damaged header may describe anything
            log.warning("%s cannot be read, its features are recomputed: %s", self._path(name), error)
            self._files.remove(name)
            self._unreadable.add(name)
            return None
        self._sound.add(name)
        self._remember(key, features)
        return features

    def put(self, key: str, features: torch.Tensor) -> None:
        """Cache features if there is space."""
        features = features.detach().permute(1, 2, 0).contiguous().cpu().permute(2, 0, 1)
        self._remember(key, features)
        name, size = _name(key), features.numel() * features.element_size()
        if size > self._disk_left or self._has_file(name):
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(self._path(name)) as temporary, open(temporary, "wb") as file:
                array = _as_array(features)
                np.save(file, array, allow_pickle=False)
                file.write(_digest(name, array))
        except OSError as error:        # training continues without caching more features
            log.warning("No more features are cached in %s: %s", self.folder, error.strerror)
            self._disk_left = 0
            return
        self._disk_left -= size
        self._files.add(name)
        self._sound.add(name)
        self._unreadable.discard(name)

    def _remember(self, key: str, features: torch.Tensor) -> None:
        size = features.numel() * features.element_size()
        if size <= self._memory_left:
            self._memory_left -= size
            self._memory[key] = features


def _name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _as_array(features: torch.Tensor) -> np.ndarray:
    """(H, W, C); bfloat16, which NumPy lacks, as raw bits."""
    pixels = features.permute(1, 2, 0)
    return pixels.view(torch.uint16).numpy() if features.dtype == torch.bfloat16 else pixels.numpy()


def _digest(name: str, array: np.ndarray) -> bytes:
    """SHA-256 of the name, and of the type, shape and values of the array: 32 bytes."""
    digest = hashlib.sha256(f"{name} {array.dtype.str} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def _read(path: Path, check: bool) -> torch.Tensor:
    with open(path, "rb") as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        if check and file.read() != _digest(path.stem, array):
            raise ValueError("its content is not what was written")
    pixels = torch.from_numpy(array)
    return (pixels.view(torch.bfloat16) if pixels.dtype == torch.uint16 else pixels).permute(2, 0, 1)
