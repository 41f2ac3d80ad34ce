"""The parameters of a net: their owners, the layers that share them, and their multipliers."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...proto import caffe_pb2
from ..blob import Blob
from ..layer import Layer, LayerError

_DEFAULT = caffe_pb2.ParamSpec()


class ParameterTable:
    """Collects the parameters of a net's layers in order and ties those of equal `param { name }`.

    blobs            every parameter of every layer
    owner_of         for each of them, the index of its owner, or None if it is an owner itself
    learnable        the owners' blobs
    learnable_index  for each of `blobs` the position of its owner in `learnable`
    lr_mult          learning rate multipliers, parallel to `learnable`
    decay_mult       weight decay multipliers, parallel to `learnable`

    An owner without a multiplier takes that of the first sharer that has one; if both have one, they
    must be equal. Source: Net::AppendParam.
    """

    def __init__(self) -> None:
        self.blobs: list[Blob] = []
        self.owner_of: list[int | None] = []
        self.learnable: list[Blob] = []
        self.learnable_index: list[int] = []
        self._by_name: dict[str, int] = {}
        self._multipliers: dict[str, list[float]] = {"lr_mult": [], "decay_mult": []}
        self._is_set: dict[str, list[bool]] = {"lr_mult": [], "decay_mult": []}

    @property
    def lr_mult(self) -> list[float]:
        return self._multipliers["lr_mult"]

    @property
    def decay_mult(self) -> list[float]:
        return self._multipliers["decay_mult"]

    def add_layer(self, layer: Layer) -> None:
        """Append the parameters of one layer. Raises LayerError for inconsistent sharing."""
        specs = list(layer.param.param)
        if len(specs) > len(layer.blobs):
            layer.fail(f"has {len(layer.blobs)} parameter(s) but {len(specs)} `param` blocks")
        for index, blob in enumerate(layer.blobs):
            spec = specs[index] if index < len(specs) else _DEFAULT
            owner = self._by_name.get(spec.name) if spec.name else None
            if owner is None:
                self._own(blob, spec)
            else:
                self._share(layer, index, blob, spec, owner)

    def _own(self, blob: Blob, spec) -> None:
        if spec.name:
            self._by_name[spec.name] = len(self.blobs)
        self.learnable_index.append(len(self.learnable))
        self.learnable.append(blob)
        for key, values in self._multipliers.items():
            values.append(getattr(spec, key))
            self._is_set[key].append(spec.HasField(key))
        self.blobs.append(blob)
        self.owner_of.append(None)

    def _share(self, layer: Layer, index: int, blob: Blob, spec, owner: int) -> None:
        owner_blob = self.blobs[owner]
        permissive = spec.share_mode == caffe_pb2.ParamSpec.PERMISSIVE
        if blob.count != owner_blob.count or not (permissive or blob.shape == owner_blob.shape):
            layer.fail(f"parameter {index} shares '{spec.name}' but has shape {blob.shape}, "
                       f"its owner {owner_blob.shape}")
        learnable = self.learnable_index[owner]
        for key, values in self._multipliers.items():
            if not spec.HasField(key):
                continue
            value = getattr(spec, key)
            if self._is_set[key][learnable] and values[learnable] != value:
                raise LayerError(f"layer '{layer.name}': parameter {index} shares '{spec.name}' with {key} {value:g}, "
                                 f"its owner has {values[learnable]:g}; give it in one place or equal in both",
                                 layer.name)
            values[learnable], self._is_set[key][learnable] = value, True
        self.learnable_index.append(learnable)
        self.blobs.append(blob)
        self.owner_of.append(owner)

    def learns(self, layer: Layer) -> bool:
        """Whether one of the layer's parameters is learned, in this layer or in one that shares it."""
        own = {id(blob) for blob in layer.blobs}
        return any(id(blob) in own and self.lr_mult[learnable] != 0
                   for blob, learnable in zip(self.blobs, self.learnable_index, strict=True))

    def tie(self) -> None:
        """Make every sharer use its owner's values and gradient."""
        for blob, owner in zip(self.blobs, self.owner_of, strict=True):
            if owner is not None:
                blob.share_data(self.blobs[owner])
                blob.share_diff(self.blobs[owner])


def share_by_name(layers: Sequence[Layer], others: Mapping[str, Sequence[Blob]]) -> None:
    """Make layers use the parameters of another net, matched by layer name. Raises LayerError if shapes differ."""
    for layer in layers:
        blobs = others.get(layer.name)
        if not layer.blobs or blobs is None:
            continue
        if [blob.shape for blob in blobs] != [blob.shape for blob in layer.blobs]:
            layer.fail(f"cannot share parameters of shapes {[b.shape for b in blobs]}; "
                       f"its own are {[b.shape for b in layer.blobs]}")
        for mine, theirs in zip(layer.blobs, blobs, strict=True):
            mine.share_data(theirs)


def copies_of_trained(layers: Sequence[Layer]) -> list[str]:
    """Names of the layers that never run backward and share all weights with a layer that does."""
    trained = {id(blob._data) for layer in layers if layer.needs_backward for blob in layer.blobs}
    return [layer.name for layer in layers if layer.blobs and not layer.needs_backward
            and all(id(blob._data) in trained for blob in layer.blobs)]
