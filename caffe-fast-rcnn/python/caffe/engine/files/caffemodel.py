"""Binary caffemodel files: a serialised NetParameter with the weights of each layer.

Reads all three generations: V2 (`layer`, since 2015), V1 (`layers`) and V0 (`layers` that hold a `layer`).
"""
from __future__ import annotations

import mmap
import os
from collections.abc import Collection

import numpy as np
import torch

from ...atomic import atomic_path
from ...errors import WireError
from ...proto import caffe_pb2
from ..bases.hdf5_reading import is_hdf5
from . import hdf5, wire
from .blob_proto import StoredBlob, blob_chunks, read_blob
from .matching import LoadReport, WeightsError, load_into
from .wire import Field

# Field numbers of caffe.proto: NetParameter, then (name, blobs) of the three kinds of layers
_NET_NAME, _NET_LAYERS_V1, _NET_LAYER = 1, 2, 100
_V2, _V1, _V0 = (1, 7), (4, 6), (1, 50)
_V1_NESTED_V0 = 1


def read_weights(path: str | os.PathLike) -> list[tuple[str, list[np.ndarray]]]:
    """Read the weights of a caffemodel, binary or HDF5.

    Returns pairs (layer name, arrays) in the order of the file, layers without weights included. The arrays
    are read-only views of the file, float32 (or float64 if saved so), in their stored shape.
    Raises WireError (a ValueError) for a file that is damaged, truncated or not a caffemodel.
    """
    return [(name, [blobs[index].array for index in sorted(blobs)]) for name, blobs in _stored_layers(path)]


def copy_weights(net, path: str | os.PathLike, skip_layers: Collection[str] = ()) -> LoadReport:
    """Load the weights of a caffemodel, binary or HDF5, into the layers of the same names.

    skip_layers   names of layers to skip
    Returns a report of the unmatched layers of the file and of the net, which is also logged. Raises WireError for a
    file that cannot be read and WeightsError for one that does not match; the net then keeps its weights.
    """
    return load_into(net, path, _stored_layers(path), skip_layers, owners_only=is_hdf5(path))


def save_net(net, path: str | os.PathLike, write_diff: bool = False,
             skip_layers: Collection[str] = (), half: bool = False) -> None:
    """Write the net and its weights as a binary caffemodel.

    Every layer is written, including automatic splits; shared weights are written with each layer that uses them. The
    file is streamed layer by layer and replaced atomically.

    write_diff    write the gradients too
    skip_layers   names of layers to omit, such as copies that share all their weights with another layer
    half          write the weights as raw 16-bit values
    Raises WeightsError for weights that are too large for 16 bits.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        wire.write(file, wire.message(_NET_NAME, [net.name.encode()]))
        for layer in net.engine_layers:
            if layer.name not in skip_layers:
                wire.write(file, _layer_message(layer, write_diff, half))


def _layer_message(layer, write_diff: bool, half: bool) -> list[wire.Chunk]:
    header = caffe_pb2.LayerParameter()
    header.CopyFrom(layer.param)
    header.ClearField("blobs")
    header.phase = int(layer.phase)  # type: ignore[assignment]  # enums are ints to protobuf
    chunks: list[wire.Chunk] = [header.SerializeToString()]
    for blob in layer.blobs:
        gradient = None
        if write_diff:
            gradient = blob.grad if blob.has_grad else torch.zeros_like(blob.tensor)
        values = _rounded(layer.name, blob.tensor) if half else blob.tensor
        chunks += wire.message(_V2[1], blob_chunks(values, gradient))
    return wire.message(_NET_LAYER, chunks)


def _rounded(name: str, values: torch.Tensor) -> torch.Tensor:
    half = values.half()
    if not torch.equal(half.isfinite(), values.isfinite()):
        raise WeightsError(f"layer '{name}' has weights up to {values.abs().max():g}: 16-bit floats end at 65504, so "
                           "that it cannot be saved in half precision")
    return half


# ---- reading
def _stored_layers(path: str | os.PathLike) -> list[tuple[str, dict[int, StoredBlob]]]:
    if is_hdf5(path):
        return hdf5.read_layers(path)
    data = wire.map_file(path)
    try:
        layers = _read_net(data)
    except WireError as error:
        raise WireError(f"{path}: {error}") from None
    if not layers:
        raise WireError(f"{path}: there is no layer in the file; is it a caffemodel?")
    return layers


def _read_net(data: mmap.mmap) -> list[tuple[str, dict[int, StoredBlob]]]:
    old, new = [], []
    for field in wire.fields(data, 0, len(data)):
        if field.number == _NET_NAME and field.kind == wire.VARINT:
            raise WireError("this is no caffemodel; .solverstate and .binaryproto files start like this")
        if field.kind == wire.LENGTH and field.number == _NET_LAYER:
            new.append(_read_layer(data, field, *_V2))
        elif field.kind == wire.LENGTH and field.number == _NET_LAYERS_V1:
            old.append(_read_old_layer(data, field))
    if old and new:
        raise WireError("the file has both `layers` and `layer`; it is not clear which count")
    return old or new


def _read_old_layer(data: mmap.mmap, layer: Field) -> tuple[str, dict[int, StoredBlob]]:
    for field in wire.fields(data, layer.begin, layer.end):
        if field.number == _V1_NESTED_V0 and field.kind == wire.LENGTH:
            return _read_layer(data, field, *_V0)
    return _read_layer(data, layer, *_V1)


def _read_layer(data: mmap.mmap, layer: Field, name_number: int,
                blobs_number: int) -> tuple[str, dict[int, StoredBlob]]:
    name, places = "", []
    for field in wire.fields(data, layer.begin, layer.end):
        if field.kind != wire.LENGTH:
            continue
        if field.number == name_number:
            name = wire.text(data, field)
        elif field.number == blobs_number:
            places.append(field)
    blobs = {}
    for index, place in enumerate(places):
        try:
            blobs[index] = read_blob(data, place.begin, place.end)
        except WireError as error:
            raise WireError(f"layer '{name}', blob {index}: {error}") from None
    return name, blobs
