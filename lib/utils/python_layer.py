"""Helpers of the Python layers: parameters, phase, blob counts, members that training uses, random numbers."""
from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

import caffe
from utils import parallel
from utils.layer_params import Params, parse_param_str
from utils.other_caffe import Blob, FrozenPrefix, Net, SettingError, param_str

Setting = TypeVar("Setting")


def layer_setting(layer: object, read: Callable[[Params], Setting]) -> Setting:
    """Apply `read`, a function of layer_params.py, to the layer's `param_str`.

    Raises SettingError that names the layer if the text or an entry is invalid.
    """
    try:
        return read(parse_param_str(param_str(layer)))
    except ValueError as error:
        raise SettingError(f"{layer_name(layer)}: {error}") from None


def phase_name(layer: caffe.Layer) -> str:
    """'TRAIN' or 'TEST', for a `layer.phase` that is a number, an enumeration or a string."""
    phase = str(layer.phase)
    name = {"0": "TRAIN", "1": "TEST"}.get(phase, phase.rsplit(".", 1)[-1])
    if name not in ("TRAIN", "TEST"):
        raise SettingError(f"{layer_name(layer)}: phase {layer.phase!r} is neither TRAIN (0) nor TEST (1)")
    return name


def layer_name(layer: object) -> str:
    """The layer's name in messages: that of its class."""
    return type(layer).__name__


def check_count(layer: object, kind: str, blobs: Sequence[Blob], names: Collection[str], optional: int = 0,
                wanted: str = "expected", note: str = "") -> None:
    """Raise SettingError unless a layer has as many blobs as `names`; the last `optional` ones may be missing.

    kind          'bottoms' or 'tops'
    wanted, note  parts of the message: what expects these blobs, and why
    """
    if not len(names) - optional <= len(blobs) <= len(names):
        count = f"{len(names) - optional} to {len(names)}" if optional else len(names)
        raise SettingError(f"{layer_name(layer)}: the prototxt gives {len(blobs)} {kind}, {wanted} {count}: "
                           f"{', '.join(names)}{note}")


class TrainingMembers(Protocol):
    """What a layer may offer to training, which uses each member that some layer of the net has; all are optional.

    A layer need not derive from this class. `iter_size`, `stats`, `seek` and `close` are used in every layer that has
    them, the others in the first one.
    """

    iter_size: int                  # set before training to the forward passes per iteration
    stats: Mapping[str, float]      # figures for the log, read only when it prints a line
    waits: Any                      # its `take()` returns the time spent waiting for data, see `prefetch.Waits`
    choices: list[Any] | None       # while it is a list, each forward pass appends a `gallery.Choice`

    def set_roidb(self, roidb: Sequence[Any]) -> None:
        """Train on these prepared entries (see roi_data_layer/roidb.py). Every net must have a layer that can."""

    def use_features(self, prefix: FrozenPrefix) -> None:
        """Report the images of each minibatch to the cache of frozen layers.

        That cache is used only if the layer with `set_roidb` has this.
        """

    def normalize_targets(self, roidb: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Normalise the targets of anchors from now on; returns means and standard deviations (4,).

        Called with TRAIN.RPN_NORMALIZE_TARGETS.
        """

    def batch_entries(self, iteration: int) -> Sequence[Any]:
        """The entries of a minibatch, for the record of hard RoIs."""

    def batch_scales(self, iteration: int) -> Sequence[float]:
        """The scale of each image of a minibatch, for the record of hard RoIs; needs `batch_entries`."""

    def seek(self, passes: int) -> None:
        """Continue as after `passes` forward passes: resumes training exactly."""

    def close(self) -> None:
        """Stop background work: training has ended or failed."""


def layers_with(net: Net, member: str) -> list[TrainingMembers]:
    """The layers of a net that have a member of `TrainingMembers`, in order."""
    return [layer for layer in net.layers if hasattr(layer, member)]


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
