"""HDF5 forms of caffemodel and solverstate files.

A model has a group `data` with one group for each layer, and in it the datasets `0`, `1`, ...; of shared parameters
only the owner's are stored. With gradients there is a second group `diff`. A solver state
has the datasets `iter`, `learned_net`, `current_step` and a group `history` with `0`, `1`, ...
Source: Net::ToHDF5 in src/caffe/net.cpp, src/caffe/util/hdf5.cpp.
"""
from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import torch

from ...atomic import atomic_path
from .blob_proto import StoredBlob
from .matching import LoadReport, load_into
from .wire import WireError

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: str | os.PathLike) -> bool:
    """Whether the file starts with HDF5's signature."""
    with open(path, "rb") as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE


def _open(path: str | os.PathLike, mode: str) -> Any:
    import h5py  # not at the top: importing it takes longer than loading most nets
    try:
        return h5py.File(path, mode)
    except OSError as error:
        if not os.path.exists(path):
            raise
        raise WireError(f"{path}: HDF5 cannot open this file; is it cut short? ({error})") from None


# ---- models
def read_layers(path: str | os.PathLike) -> list[tuple[str, dict[int, StoredBlob]]]:
    """Read pairs (layer name, {blob index: blob}). Raises WireError if there is no `data` group."""
    with _open(path, "r") as file:
        if "data" not in file:
            raise WireError(f"{path}: this HDF5 file has no group 'data'; is it a caffemodel?")
        return [(name, {index: _stored(dataset) for index, dataset in _numbered(group)})
                for name, group in _groups(file["data"])]


def _groups(parent, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All groups below `parent` by path: a layer named inception/1x1 is a group in a group."""
    for name, child in parent.items():
        if hasattr(child, "items"):
            yield prefix + name, child
            yield from _groups(child, f"{prefix}{name}/")


def _numbered(group) -> list[tuple[int, Any]]:
    return sorted((int(name), child) for name, child in group.items()
                  if name.isdecimal() and hasattr(child, "dtype"))


def _stored(dataset) -> StoredBlob:
    return StoredBlob(np.asarray(dataset[()]).reshape(-1), tuple(dataset.shape))


def copy_weights_hdf5(net, path: str | os.PathLike, skip_layers: Collection[str] = ()) -> LoadReport:
    """Load an HDF5 caffemodel into the layers of the same names; see `caffemodel.copy_weights`."""
    return load_into(net, path, read_layers(path), skip_layers, owners_only=True)


def save_net_hdf5(net, path: str | os.PathLike, write_diff: bool = False) -> None:
    """Write the weights as an HDF5 caffemodel; an existing file is replaced atomically.

    write_diff   write the gradients too, including those of sharing layers
    """
    owners = {id(blob) for blob in net.learnable_params}
    with atomic_path(path) as temporary, _open(temporary, "w") as file:
        data = file.create_group("data")
        diff = file.create_group("diff") if write_diff else None
        for layer in net.engine_layers:
            values = data.require_group(layer.name)
            gradients = diff.require_group(layer.name) if diff is not None else None
            for index, blob in enumerate(layer.blobs):
                if id(blob) in owners:
                    values[str(index)] = blob.tensor.cpu().numpy()
                if gradients is not None:
                    gradient = blob.grad if blob.has_grad else torch.zeros_like(blob.tensor)
                    gradients[str(index)] = gradient.cpu().numpy()


# ---- solver states
def read_state(path: str | os.PathLike) -> tuple[int, str, int, list[StoredBlob]]:
    """Read (iter, learned_net, current_step, history). Raises WireError if one is missing."""
    with _open(path, "r") as file:
        missing = [name for name in ("iter", "current_step", "history") if name not in file]
        if missing:
            raise WireError(f"{path}: this HDF5 file has no '{missing[0]}'; is it a solver state?")
        learned_net = file["learned_net"].asstr()[()] if "learned_net" in file else ""
        history = [_stored(dataset) for _, dataset in _numbered(file["history"])]
        return int(file["iter"][()].item()), learned_net, int(file["current_step"][()].item()), history


def write_state(path: str | os.PathLike, iteration: int, learned_net: str, current_step: int,
                history: list[torch.Tensor]) -> None:
    """Write a solver state; an existing file is replaced atomically."""
    with atomic_path(path) as temporary, _open(temporary, "w") as file:
        file["iter"] = np.array([iteration], np.int32)
        file["learned_net"] = np.bytes_(learned_net.encode())
        file["current_step"] = np.array([current_step], np.int32)
        group = file.create_group("history")
        for index, values in enumerate(history):
            group[str(index)] = values.cpu().numpy()
