"""Helpers of the Python layers: parameters, phase, blob counts, and reproducible random numbers."""
from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import numpy as np

from utils import parallel
from utils.layer_params import parse_param_str
from utils.other_caffe import Blob, SettingError, param_str

Setting = TypeVar("Setting")


def layer_setting(layer: Any, read: Callable[[dict[str, Any]], Setting]) -> Setting:
    """Apply `read`, a function of layer_params.py, to the layer's `param_str`.

    Raises SettingError that names the layer if the text or an entry is invalid.
    """
    try:
        return read(parse_param_str(param_str(layer)))
    except ValueError as error:
        raise SettingError(f"{layer_name(layer)}: {error}") from None


def phase_name(layer: Any) -> str:
    """'TRAIN' or 'TEST', for a `layer.phase` that is a number, an enumeration or a string."""
    phase = str(layer.phase)
    name = {"0": "TRAIN", "1": "TEST"}.get(phase, phase.rsplit(".", 1)[-1])
    if name not in ("TRAIN", "TEST"):
        raise SettingError(f"{layer_name(layer)}: phase {layer.phase!r} is neither TRAIN (0) nor TEST (1)")
    return name


def layer_name(layer: Any) -> str:
    """The layer's name in messages: that of its class."""
    return type(layer).__name__


def check_count(layer: Any, kind: str, blobs: Sequence[Blob], names: Collection[str], optional: int = 0,
                wanted: str = "expected", note: str = "") -> None:
    """Raise SettingError unless a layer has as many blobs as `names`; the last `optional` ones may be missing.

    kind          'bottoms' or 'tops'
    wanted, note  parts of the message: what expects these blobs, and why
    """
    if not len(names) - optional <= len(blobs) <= len(names):
        count = f"{len(names) - optional} to {len(names)}" if optional else len(names)
        raise SettingError(f"{layer_name(layer)}: the prototxt gives {len(blobs)} {kind}, {wanted} {count}: "
                           f"{', '.join(names)}{note}")


def pass_number(passes: int) -> int:
    """Global number, over all training processes, of this process's forward pass `passes`; both start at 0.

    Each of N processes runs every N-th pass, as Caffe's data layers distribute their records.
    """
    return passes * parallel.count() + parallel.rank()


class RandomLayer:
    """Mixin of layers that draw random numbers: `setup` sets `_seed`, and `forward` counts `_passes`."""

    _seed: int
    _passes = 0     # forward passes of this process

    def rng(self) -> np.random.Generator:
        """Generator of this forward pass: a function of the seed, the class name and the number of the pass.

        No state is carried from pass to pass, so that training resumed at any pass draws the same numbers, and several
        processes together draw the numbers of a single one.
        """
        return np.random.default_rng([self._seed, zlib.crc32(layer_name(self).encode()), pass_number(self._passes)])

    def seek(self, passes: int) -> None:
        """Continue with the random numbers after `passes` forward passes: resumes training exactly."""
        self._passes = passes
