"""A cache of image features, in memory up to a budget and on disk up to a limit."""
from __future__ import annotations

import hashlib
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import torch

from ...atomic import atomic_path
from .. import device

log = logging.getLogger("caffe")

_MB = 2 ** 20


class FeatureCache:
    """A folder with features of several nets or weights, each set in a subfolder named by its fingerprint.

    folder     created when the first features are written
    memory_mb  size of the cache in memory; the rest is read from disk
    disk_mb    maximum size of the folder. When it is full, further features are recomputed each time: nothing is
               evicted, because images recur in an order that makes the oldest features the next to be used

    Each of N processes that train together (`caffe.solver_count()`) uses an N-th of both, and reads what the others
    have written to disk.
    """

    def __init__(self, folder: str | os.PathLike, memory_mb: float, disk_mb: float) -> None:
        self.folder = Path(folder)
        self.memory_mb, self.disk_mb = memory_mb, disk_mb
        self._processes = device.solver_count()

    def _path(self, fingerprint: str) -> Path:
        return self.folder / fingerprint[:16]

    def holds(self, fingerprint: str) -> bool:
        """Whether features of this fingerprint exist."""
        return self._path(fingerprint).is_dir()

    def open(self, fingerprint: str) -> FeatureStore:
        """The features of this fingerprint; all others are deleted."""
        for other in self.folder.glob("*"):
            if other.is_dir() and other != self._path(fingerprint):
                shutil.rmtree(other, ignore_errors=True)
        return FeatureStore(self._path(fingerprint), self.memory_mb, self.disk_mb, self._processes)

    def fits(self, values: int, images: int) -> bool:
        """Whether at least half of this many images, with this many values each, fit where this process reads."""
        size = 2 if device.precision() == "bfloat16" else 4
        return values * images * size <= 2 * _MB * (self.memory_mb / self._processes + self.disk_mb)


class FeatureStore:
    """Features (C, H, W) by key, one file each; written atomically, so other processes may read them meanwhile."""

    def __init__(self, folder: Path, memory_mb: float, disk_mb: float, processes: int = 1) -> None:
        """For one of several processes that fill the folder together and divide the remaining space."""
        self.folder = folder
        self._memory: dict[str, torch.Tensor] = {}
        self._files: set[str] = set()       # known stems; other processes add more
        self._unreadable: set[str] = set()
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
            features = _read(self._path(name))
        except (OSError, ValueError, EOFError) as error:        # the folder was cleared, or the disk failed
            log.warning("%s cannot be read, its features are computed anew: %s", self._path(name), error)
            self._files.remove(name)
            self._unreadable.add(name)
            return None
        self._remember(key, features)
        return features

    def put(self, key: str, features: torch.Tensor) -> None:
        """Cache features if there is room."""
        features = features.detach().permute(1, 2, 0).contiguous().cpu().permute(2, 0, 1)
        self._remember(key, features)
        name, size = _name(key), features.numel() * features.element_size()
        if size > self._disk_left or self._has_file(name):
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(self._path(name)) as temporary, open(temporary, "wb") as file:
                np.save(file, _as_array(features), allow_pickle=False)
        except OSError as error:        # training continues without caching more features
            log.warning("No more features are kept in %s: %s", self.folder, error.strerror)
            self._disk_left = 0
            return
        self._disk_left -= size
        self._files.add(name)
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


def _read(path: Path) -> torch.Tensor:
    pixels = torch.from_numpy(np.load(path, allow_pickle=False))
    return (pixels.view(torch.bfloat16) if pixels.dtype == torch.uint16 else pixels).permute(2, 0, 1)
