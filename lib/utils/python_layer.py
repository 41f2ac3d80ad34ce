"""What every Python layer needs: its parameters, its phase, and random numbers that can be repeated."""
from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

import caffe
from utils.layer_params import parse_param_str

# What layers raise about their settings. Our engine puts the layer's name, its file and line in front, and the tools
# print it as a mistake of the user.
SettingError: type[ValueError] = getattr(caffe, "LayerError", ValueError)

Setting = TypeVar("Setting")


def layer_setting(layer: Any, read: Callable[[dict[str, Any]], Setting]) -> Setting:
    """What `read`, of layer_params.py, finds in the layer's `param_str` (on old Caffes `param_str_`).

    Raises SettingError that names the layer for a text or an entry that is not what it should be.
    """
    try:
        return read(parse_param_str(str(getattr(layer, "param_str", "") or getattr(layer, "param_str_", ""))))
    except ValueError as error:
        raise SettingError(f"{layer_name(layer)}: {error}") from None


def phase_name(layer: Any) -> str:
    """'TRAIN' or 'TEST', whatever this Caffe's `layer.phase` is: a number, an enumeration or a text."""
    phase = str(layer.phase)
    name = {"0": "TRAIN", "1": "TEST"}.get(phase, phase.rsplit(".", 1)[-1])
    if name not in ("TRAIN", "TEST"):
        raise SettingError(f"{layer_name(layer)}: phase {layer.phase!r} is neither TRAIN (0) nor TEST (1)")
    return name


def blob_shape(blob: Any) -> tuple[int, ...]:
    """Shape of a blob. Older Caffes know only that of its data, for which they may fetch values that nobody reads."""
    return tuple(blob.shape if hasattr(blob, "shape") else blob.data.shape)


def set_blob(blob: Any, values: np.ndarray) -> None:
    """Give a blob the shape and the values of an array, which may become its memory: do not write to it later."""
    if hasattr(blob, "set_data"):
        blob.set_data(values)
    else:
        blob.reshape(*values.shape)
        blob.data[...] = values


def lies_on_gpu(blob: Any) -> bool:
    """Whether the blob has a `tensor` to work on, on a CUDA device. Other Caffes show blobs to Python on the host."""
    return hasattr(blob, "tensor") and bool(blob.tensor.is_cuda)


def set_tensor(blob: Any, values: Any) -> None:
    """Give a blob the shape and the values of a tensor, which stays where it is."""
    blob.reshape(*values.shape)
    blob.tensor = values


def layer_name(layer: Any) -> str:
    """How messages call the layer: its class."""
    return type(layer).__name__


def pass_number(passes: int) -> int:
    """Number of this process's pass `passes`, counted from 0, among those of all that train the net together.

    Of N processes each does every N-th pass, as data layers of Caffe share out their records.
    """
    if not hasattr(caffe, "solver_count"):      # older Caffes train in one process
        return passes
    return passes * caffe.solver_count() + caffe.solver_rank()


def layer_rng(layer: Any, seed: int, passes: int) -> np.random.Generator:
    """Random numbers of one forward pass: a function of the seed, the layer's class and the pass's number.

    passes  how many this process has done before
    No state is carried from pass to pass, so training that resumes at any pass draws the same numbers, and several
    processes draw those of one.
    """
    return np.random.default_rng([seed, zlib.crc32(layer_name(layer).encode()), pass_number(passes)])
