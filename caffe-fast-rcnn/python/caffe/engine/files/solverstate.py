"""Solver states: the progress of a training run, without the weights, which are in a caffemodel beside it."""
from __future__ import annotations

import mmap
import os
from dataclasses import dataclass, field

import torch

from ...atomic import atomic_path
from ...errors import WireError
from ..bases.hdf5_reading import is_hdf5
from . import hdf5, wire
from .blob_proto import StoredBlob, blob_chunks, read_blob

_ITER, _LEARNED_NET, _HISTORY, _CURRENT_STEP = 1, 2, 3, 4      # SolverState of caffe.proto


@dataclass
class SolverState:
    """The content of a solver state.

    iter           number of updates done
    learned_net    name of the caffemodel with the weights
    current_step   number of learning rate steps taken
    history        the solver's blobs, one for each learnable parameter (Adam, AdaDelta: followed by one more each)
    """

    iter: int = 0
    learned_net: str = ""
    current_step: int = 0
    history: list[StoredBlob] = field(default_factory=list)


def read_state(path: str | os.PathLike) -> SolverState:
    """Read a solver state, binary or HDF5.

    Raises WireError (a ValueError) for a file that is damaged, truncated or not a solver state.
    """
    if is_hdf5(path):
        return SolverState(*hdf5.read_state(path))
    data = wire.map_file(path)
    try:
        return _parse(data)
    except WireError as error:
        raise WireError(f"{path}: {error}") from None


def _parse(data: mmap.mmap) -> SolverState:
    state = SolverState()
    for place in wire.fields(data, 0, len(data)):
        kind = place.number, place.kind
        if kind == (_ITER, wire.VARINT):
            state.iter = place.value
        elif kind == (_LEARNED_NET, wire.LENGTH):
            state.learned_net = wire.text(data, place)
        elif kind == (_CURRENT_STEP, wire.VARINT):
            state.current_step = place.value
        elif kind == (_HISTORY, wire.LENGTH):
            state.history.append(read_blob(data, place.begin, place.end))
        else:
            raise WireError(f"this is no solver state (field {place.number}); is it a caffemodel?")
    return state


def write_state(path: str | os.PathLike, iteration: int, learned_net: str, current_step: int,
                history: list[torch.Tensor]) -> None:
    """Write a binary solver state; an existing file is replaced atomically."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        wire.write(file, [wire.varint(_ITER, iteration), *wire.message(_LEARNED_NET, [learned_net.encode()])])
        for values in history:
            wire.write(file, wire.message(_HISTORY, blob_chunks(values)))
        wire.write(file, [wire.varint(_CURRENT_STEP, current_step)])
