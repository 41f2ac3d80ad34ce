"""The frozen beginning of a net: computed once for each image, then reused.

In stage 2 of alternating optimisation the convolutions of the trunk are frozen: their result for an image is the same
in every epoch. The layers here process each image of a batch independently, so results can be cached per image.
"""
from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterator, Sequence

import torch

from ...proto import caffe_pb2
from .. import device
from ..blob import Blob
from ..layer import Layer
from .graph import Graph

# Types whose top for an image depends on that image and the parameters alone, and keeps their places
_TYPES = frozenset("""AbsVal BNLL Bias Clip Convolution ConvolutionDepthwise DepthwiseConvolution ELU Exp LRN Log PReLU
                      Pooling Power ReLU Scale Sigmoid Swish TanH Threshold""".split())
_WORTH_READING = {"cpu": 4.0, "cuda": 2.0}      # maximum number of cached values per value of the image
_UNIMPORTANT = ("name", "bottom", "top", "param", "phase", "include", "exclude", "propagate_down", "loss_weight",
                "blobs")


def make_prefix(graph: Graph, is_test: bool, cache, preprocessing: str, images: int) -> FrozenPrefix | None:
    """The frozen beginning of a net, run from features in a FeatureCache; see `Net.reuse_frozen_prefix`."""
    places = _frozen_chain(graph, lambda layer: is_test or not graph.parameters.learns(layer))
    chain = [graph.layers[place] for place in places]
    prints = list(_fingerprints(chain, preprocessing))
    known = [length for length, fingerprint in enumerate(prints, 1) if cache.holds(fingerprint)]
    length = max(known) if known else len(prints)
    if not any(layer.type == "Convolution" for layer in chain[:length]) or (is_test and not known):
        return None
    places = places[:length]
    blobs = [(graph.blobs[graph.bottoms[place][0]], graph.blobs[graph.tops[place][0]]) for place in places]
    source, target = blobs[0][0], blobs[-1][1]
    if not _is_worth_reading(source, target) or not cache.fits(target.count // source.shape[0], images):
        return None
    return FrozenPrefix(chain[:length], blobs, graph.names_of([graph.tops[place][0] for place in places]), places,
                        cache.open(prints[length - 1]), _image_has_readers(graph, places[0]))


def _frozen_chain(graph: Graph, is_frozen: Callable[[Layer], bool]) -> list[int]:
    """Indices of the chain of layers from top 0 of the first layer that neither learn nor draw random numbers.

    Each has one bottom and one top. The chain may begin after a Split, at the copy that leads furthest, and ends
    before the next one. Empty if there is no such layer.
    """
    layers, bottoms, tops = graph.layers, graph.bottoms, graph.tops

    def follow(blob: int, place: int) -> list[int]:
        found: list[int] = []
        while True:
            place = next((index for index in range(place + 1, len(layers)) if blob in bottoms[index]), len(layers))
            if place < len(layers) and layers[place].type == "Split" and not found:
                return max((follow(copy, place) for copy in tops[place]), key=len)
            if place == len(layers) or not _may_be_kept(layers[place], bottoms[place], tops[place], is_frozen):
                return found
            found.append(place)
            blob = tops[place][0]

    return follow(tops[0][0], 0) if layers and tops[0] else []


def _may_be_kept(layer: Layer, bottom: Sequence[int], top: Sequence[int], is_frozen: Callable[[Layer], bool]) -> bool:
    is_random = layer.type == "Pooling" and layer.param.pooling_param.pool == caffe_pb2.PoolingParameter.STOCHASTIC
    return (layer.type in _TYPES and len(bottom) == len(top) == 1 and not is_random and not layer.needs_backward
            and is_frozen(layer))


def _image_has_readers(graph: Graph, trunk: int) -> bool:
    """Whether a layer other than the trunk's first reads the values of the image; Split only passes them on."""
    image = graph.blobs[graph.tops[0][0]]
    for place, (layer, bottoms, _) in enumerate(graph.connected()):
        unread = getattr(getattr(layer, "user", None), "unread_bottoms", ())
        if place != trunk and layer.type != "Split" and any(
                blob.shares_data_with(image) and position not in unread for position, blob in enumerate(bottoms)):
            return True
    return False


def _is_worth_reading(source: Blob, target: Blob) -> bool:
    """Whether features are small enough, compared to the image, that reading them is cheaper than computing them."""
    return target.count <= _WORTH_READING[device.current_device().type] * source.count


def _fingerprints(chain: Sequence[Layer], preprocessing: str) -> Iterator[str]:
    """For each layer of the chain, a hash of everything but the image that the result so far depends on."""
    digest = hashlib.sha256(f"{preprocessing} {device.precision()} {device.float_type()}".encode())
    for layer in chain:
        param = caffe_pb2.LayerParameter()
        param.CopyFrom(layer.param)
        for name in _UNIMPORTANT:
            param.ClearField(name)      # type: ignore[arg-type]
        digest.update(param.SerializeToString(deterministic=True))
        for blob in layer.blobs:
            digest.update(blob.tensor.contiguous().cpu().numpy())
        yield digest.hexdigest()


class FrozenPrefix:
    """Runs the frozen beginning of a net from cached features; created by `Net.reuse_frozen_prefix`.

    The code that feeds the net calls `next_batch` before each pass; without that call everything is computed.

    blob         name of the cached blob
    num_layers   number of layers that are skipped
    reads_image  whether other layers read the image too, so it is always needed
    hits, misses numbers of images whose features were cached, or had to be computed
    """

    def __init__(self, layers: Sequence[Layer], blobs: Sequence[tuple[Blob, Blob]], names: Sequence[str],
                 places: Sequence[int], store, reads_image: bool) -> None:
        """layers, their (bottom, top), names of the tops, and indices in the net; where features are kept."""
        self._layers, self._blobs, self._names, self._store = layers, blobs, names, store
        self.places = frozenset(places)
        self.first = min(places)
        self.blob, self.num_layers, self.reads_image = names[-1], len(layers), reads_image
        self.hits = self.misses = 0
        self._batch: tuple[Sequence[str], Sequence[tuple[int, int]], Sequence[int]] | None = None

    def has(self, key: str) -> bool:
        """Whether the features of an image are cached. Once cached, they stay. Thread-safe."""
        return key in self._store

    def next_batch(self, keys: Sequence[str], sizes: Sequence[tuple[int, int]], absent: Sequence[int] = ()) -> None:
        """Announce the images of the next pass.

        keys    one per image: equal keys mean equal pixels
        sizes   (height, width) of each image without padding
        absent  indices of the images that are not in the blob, because `has` knew them

        The pass raises OSError if the features of such an image can no longer be read.
        """
        self._batch = keys, sizes, absent

    @property
    def is_ready(self) -> bool:
        """Whether the next pass can skip these layers."""
        return self._batch is not None

    def forward(self) -> None:
        """Fill the last blob with cached or, image by image, computed features; the other blobs are not computed."""
        assert self._batch is not None
        (keys, sizes, absent), self._batch = self._batch, None
        source, target = self._blobs[0][0], self._blobs[-1][1]
        features = [self._features(key, size, source, index, index in absent)
                    for index, (key, size) in enumerate(zip(keys, sizes, strict=True))]
        for layer, (bottom, top) in zip(self._layers, self._blobs, strict=True):
            layer.reshape([bottom], [top])
        for name, (_, top) in zip(self._names, self._blobs, strict=True):
            if top is not target:
                top.free(name)
        target.tensor = _stacked(features, target.shape)

    def _features(self, key: str, size: tuple[int, int], source: Blob, index: int, is_absent: bool) -> torch.Tensor:
        """(C, H, W) of one image."""
        kept = self._store.get(key)
        if kept is not None:
            self.hits += 1
            return kept
        if is_absent:
            raise OSError(errno.EIO, "the features of an image were here and can no longer be read; start again",
                          str(self._store.folder))
        self.misses += 1
        blob = Blob(1, source.shape[1], *size)
        blob.tensor = source.tensor[index:index + 1, :, :size[0], :size[1]]
        for layer, (bottom, top) in zip(self._layers, self._blobs, strict=True):
            result = blob if top is bottom else Blob()
            layer.reshape([blob], [result])
            layer.forward([blob], [result])
            blob = result
        self._store.put(key, blob.stored[0])
        return blob.stored[0]


def _stacked(features: Sequence[torch.Tensor], shape: tuple[int, ...]) -> torch.Tensor:
    """One batch of the given shape, each image's features in its upper left corner, zeros elsewhere."""
    whole = all(feature.shape == shape[1:] for feature in features)
    batch = torch.empty(shape, dtype=features[0].dtype, device=device.current_device(),
                        memory_format=torch.channels_last)
    if not whole:
        batch.zero_()
    for plane, feature in zip(batch, features, strict=True):
        plane[:, :feature.shape[1], :feature.shape[2]].copy_(device.send(feature, batch.device))
    return batch
