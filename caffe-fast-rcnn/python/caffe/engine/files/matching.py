"""Copies stored weights into a net: layers are matched by name, blobs by position."""
from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ...errors import CaffeError, WireError
from ..blob import Blob
from .blob_proto import StoredBlob, stored_blob

log = logging.getLogger("caffe")

StoredLayers = Sequence[tuple[str, Mapping[int, StoredBlob]]]


class WeightsError(CaffeError, ValueError):
    """Weights that do not match the net. The message names the file, the layer, the blob and both shapes."""


class LoadReport(NamedTuple):
    """The names of the layers without a match when weights were loaded, in order."""

    unused: list[str]       # layers of the file, with weights, that the net lacks
    # layers of the net with parameters that the file should fill but does not, directly or through sharing
    unfilled: list[str]


def load_into(net, path: str | os.PathLike, stored: StoredLayers, skip_layers: Collection[str] = (),
              owners_only: bool = False) -> LoadReport:
    """Copy stored weights into the net; if anything does not match, nothing is changed.

    stored        pairs (layer name, {blob index: StoredBlob}); of equal names, the last is used
    skip_layers   names of layers to skip
    owners_only   the file may omit blobs that are shared with another layer, as HDF5 files do
    Returns and logs the unmatched layers; warns of layers that keep their current values.
    Raises WeightsError for a different number of blobs or shape.
    Source: Net::CopyTrainedLayersFrom in src/caffe/net.cpp.
    """
    targets = {layer.name: layer for layer in reversed(net.engine_layers)}      # the first of equal names
    may_miss = _shared_blobs(net) if owners_only else frozenset()
    copies: list[tuple[Blob, StoredBlob]] = []
    for name, blobs in stored:
        if name in targets and name not in skip_layers:
            copies += _pair(path, targets[name], blobs, may_miss)
    for target, source in copies:
        source.copy_to(target)
    return _report(net, path, stored, skip_layers)


def _shared_blobs(net) -> frozenset[int]:
    owners = {id(blob) for blob in net.learnable_params}
    every = {id(blob) for layer in net.engine_layers for blob in layer.blobs}
    return frozenset(every - owners)


def _pair(path, layer, stored: Mapping[int, StoredBlob],
          may_miss: frozenset[int]) -> list[tuple[Blob, StoredBlob]]:
    needed = {index for index, blob in enumerate(layer.blobs) if id(blob) not in may_miss}
    if needed - set(stored) or any(index >= len(layer.blobs) for index in stored):
        raise WeightsError(f"{path}: layer '{layer.name}' has {len(stored)} blobs in the file, "
                           f"{len(layer.blobs)} in the net; rename the layer in the prototxt to leave it out")
    for index, blob in stored.items():
        if not blob.fits(layer.blobs[index].shape):
            raise WeightsError(f"{path}: layer '{layer.name}', blob {index}: expected shape "
                               f"{layer.blobs[index].shape} as in the net, found {blob.shape}; rename the "
                               f"layer in the prototxt to train it from scratch")
    return [(layer.blobs[index], blob) for index, blob in stored.items()]


def take_written_blobs(layer) -> None:
    """Fill the parameters with the `blobs` of the layer's message, if it has any. Raises LayerError."""
    written = layer.param.blobs
    if written and len(written) != len(layer.blobs):
        layer.fail(f"has {len(written)} `blobs` in its message, but {len(layer.blobs)} parameters")
    for index, (target, message) in enumerate(zip(layer.blobs, written, strict=False)):
        try:
            source = stored_blob(message)
        except WireError as error:
            layer.fail(f"blob {index}: {error}")
        if not source.fits(target.shape):
            layer.fail(f"blob {index}: expected shape {target.shape}, found {source.shape} in its message")
        source.copy_to(target)


def _report(net, path, stored: StoredLayers, skip_layers: Collection[str]) -> LoadReport:
    known, given = {layer.name for layer in net.engine_layers}, {name for name, _ in stored}
    unused = [name for name, blobs in stored if blobs and name not in known]
    filled = {id(blob._data) for layer in net.engine_layers if layer.name in given - set(skip_layers)
              for blob in layer.blobs}
    unfilled = [layer.name for layer in net.engine_layers if layer.name not in skip_layers
                and any(id(blob._data) not in filled for blob in layer.blobs)]
    log.info("%s: weights loaded into net '%s'", path, net.name)
    if any(blob.is_half for _, blobs in stored for blob in blobs.values()):
        log.info("  the file holds 16-bit floats: weights have 11 significant bits")
    if unused:
        log.info("  in the file, but not in the net: %s", ", ".join(unused))
    if unfilled:
        log.warning("%s has no weights for these layers, which keep their values (in a new net those of their "
                    "fillers): %s", path, ", ".join(unfilled))
    return LoadReport(unused, unfilled)
