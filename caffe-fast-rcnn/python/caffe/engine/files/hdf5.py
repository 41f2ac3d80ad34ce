"""HDF5 forms of caffemodel and solverstate files.

A model has a group `data` with a group for each layer, which holds the datasets `0`, `1`, ...; of shared parameters
only the owner's are stored. With gradients there is a second group `diff`. A solver state has the datasets `iter`,
`learned_net`, `current_step` and a group `history` with `0`, `1`, ...
Source: Net::ToHDF5 in src/caffe/net.cpp, src/caffe/util/hdf5.cpp.
"""
from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import torch

from ...atomic import atomic_path
from ...errors import WireError
from ..bases.hdf5_reading import check_datasets, hdf5_file, member
from .blob_proto import StoredBlob
from .matching import LoadReport, WeightsError, load_into


def _created(path: str | os.PathLike) -> Any:
    import h5py  # imported here since that takes longer than loading most nets
    return h5py.File(path, "w")


# ---- models
def read_layers(path: str | os.PathLike) -> list[tuple[str, dict[int, StoredBlob]]]:
    """Read pairs (layer name, {blob index: blob}).

    Raises WireError if there is no `data` group, and for a file that is damaged or expands to much more memory.
    """
    with hdf5_file(path) as file:
        data = member(file, "data")
        if not hasattr(data, "items"):
            raise WireError("this HDF5 file has no group 'data'; is it a caffemodel?")
        layers = [(name, _numbered(group)) for name, group in _groups(data, "", {data})]
        check_datasets(path, [dataset for _, blobs in layers for dataset in blobs.values()])
        return [(name, {index: _stored(dataset) for index, dataset in blobs.items()}) for name, blobs in layers]


def _groups(parent, prefix: str, seen: set) -> Iterator[tuple[str, Any]]:
    """All groups below `parent` by path: a layer named inception/1x1 is a group in a group."""
    for name in parent:
        child = member(parent, name)
        if hasattr(child, "items"):
            if child in seen:
                raise WireError(f"its group '{prefix}{name}' is there under another name too")
            seen.add(child)
            yield prefix + name, child
            yield from _groups(child, f"{prefix}{name}/", seen)


def _numbered(group) -> dict[int, Any]:
    if not hasattr(group, "items"):
        raise WireError(f"'{group.name}' is no group")
    children = {int(name): member(group, name) for name in group if name.isdecimal()}
    return {index: child for index, child in sorted(children.items()) if hasattr(child, "dtype")}


def _stored(dataset) -> StoredBlob:
    return StoredBlob(np.asarray(dataset[()]).reshape(-1), tuple(dataset.shape))


def copy_weights_hdf5(net, path: str | os.PathLike, skip_layers: Collection[str] = ()) -> LoadReport:
    """Load an HDF5 caffemodel into the layers of the same names; see `caffemodel.copy_weights`."""
    return load_into(net, path, read_layers(path), skip_layers, owners_only=True)


def check_names(net, write_diff: bool = False) -> None:
    """Raise WeightsError if the names of layers do not go together in an HDF5 file.

    It holds the parameters of only one layer of a name, and since `/` separates its groups, no layer can be named like
    a parameter: blob 0 of layer `a` is `a/0`.
    """
    owners = {id(blob) for blob in net.learnable_params}
    writers: dict[str, str] = {}        # path of a blob -> name of its layer
    for layer in net.engine_layers:
        for index, blob in enumerate(layer.blobs):
            if f"{layer.name}/{index}" in writers:
                raise WeightsError(f"two layers with parameters are named '{layer.name}', of which HDF5 files hold "
                                   "only one: rename one, or use the binary format")
            if write_diff or id(blob) in owners:
                writers[f"{layer.name}/{index}"] = layer.name
    for layer in net.engine_layers:
        for path in itertools.accumulate(layer.name.split("/"), "{}/{}".format):
            if path in writers:
                raise WeightsError(f"layer '{layer.name}': in HDF5 files '{path}' is a parameter of layer "
                                   f"'{writers[path]}': rename one of them, or use the binary format")


def save_net_hdf5(net, path: str | os.PathLike, write_diff: bool = False) -> None:
    """Write the weights as an HDF5 caffemodel; an existing file is replaced atomically.

    write_diff   write the gradients too, including those of sharing layers

    Raises WeightsError, see `check_names`.
    """
    check_names(net, write_diff)
    owners = {id(blob) for blob in net.learnable_params}
    with atomic_path(path) as temporary, _created(temporary) as file:
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
    with hdf5_file(path) as file:
        found = {name: member(file, name) for name in ("iter", "current_step", "history", "learned_net")}
        missing = [name for name, value in found.items() if value is None and name != "learned_net"]
        if missing:
            raise WireError(f"this HDF5 file has no '{missing[0]}'; is it a solver state?")
        history = _numbered(found["history"])
        check_datasets(path, [found["iter"], found["current_step"], *history.values()])
        return (_number(found["iter"]), _text(found["learned_net"]), _number(found["current_step"]),
                [_stored(dataset) for dataset in history.values()])


def _number(dataset) -> int:
    if dataset.size != 1 or dataset.dtype.kind not in "iu":
        raise WireError(f"'{dataset.name}' is not one whole number")
    return int(dataset[()].item())


def _text(dataset) -> str:
    if dataset is None:
        return ""
    if not hasattr(dataset, "asstr") or dataset.shape != () or dataset.external or dataset.is_virtual:
        raise WireError("'learned_net' is no text")
    return dataset.asstr("utf-8", "replace")[()]       # files say ASCII, whatever the name


def write_state(path: str | os.PathLike, iteration: int, learned_net: str, current_step: int,
                history: list[torch.Tensor]) -> None:
    """Write a solver state; an existing file is replaced atomically."""
    with atomic_path(path) as temporary, _created(temporary) as file:
        file["iter"] = np.array([iteration], np.int32)
        file["learned_net"] = np.bytes_(learned_net.encode())
        file["current_step"] = np.array([current_step], np.int32)
        group = file.create_group("history")
        for index, values in enumerate(history):
            group[str(index)] = values.cpu().numpy()
