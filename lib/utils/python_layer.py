"""What every Python layer needs: its parameters, its phase, and reproducible random numbers."""
from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import numpy as np

from utils import parallel
from utils.layer_params import parse_param_str
from utils.other_caffe import Blob, SettingError

Setting = TypeVar("Setting")


def layer_setting(layer: Any, read: Callable[[dict[str, Any]], Setting]) -> Setting:
    """The result of `read`, a function of layer_params.py, for the layer's `param_str` (on old Caffes `param_str_`).

    Raises SettingError naming the layer for an invalid text or entry.
    """
    try:
        return read(parse_param_str(str(getattr(layer, "param_str", "") or getattr(layer, "param_str_", ""))))
    except ValueError as error:
        raise SettingError(f"{layer_name(layer)}: {error}") from None


def phase_name(layer: Any) -> str:
    """'TRAIN' or 'TEST', whether this Caffe's `layer.phase` is a number, an enumeration or a string."""
    phase = str(layer.phase)
    name = {"0": "TRAIN", "1": "TEST"}.get(phase, phase.rsplit(".", 1)[-1])
    if name not in ("TRAIN", "TEST"):
        raise SettingError(f"{layer_name(layer)}: phase {layer.phase!r} is neither TRAIN (0) nor TEST (1)")
    return name


def layer_name(layer: Any) -> str:
    """The layer's name in messages: its class."""
    return type(layer).__name__


def check_count(layer: Any, kind: str, blobs: Sequence[Blob], names: Collection[str], optional: int = 0,
                wanted: str = "expected", note: str = "") -> None:
    """Raise SettingError unless a layer has as many blobs as `names`, of which the last `optional` may be missing.

    kind          'bottoms' or 'tops'
    wanted, note  parts of the message: who wants these blobs, and why
    """
    if not len(names) - optional <= len(blobs) <= len(names):
        count = f"{len(names) - optional} to {len(names)}" if optional else len(names)
        raise SettingError(f"{layer_name(layer)}: the prototxt gives {len(blobs)} {kind}, {wanted} {count}: "
                           f"{', '.join(names)}{note}")


def pass_number(passes: int) -> int:
    """Global number of this process's pass `passes`, both counted from 0, over all processes that train the net.

    Each of N processes does every N-th pass, as Caffe's data layers distribute their records.
    """
    return passes * parallel.count() + parallel.rank()


def layer_rng(layer: Any, seed: int, passes: int) -> np.random.Generator:
    """Generator of one forward pass: a function of the seed, the layer's class and the number of the pass.

    passes  number of passes this process has done before
    No state is carried from pass to pass, so that training resumed at any pass draws the same numbers, and several
    processes draw those of one.
    """
    return np.random.default_rng([seed, zlib.crc32(layer_name(layer).encode()), pass_number(passes)])
