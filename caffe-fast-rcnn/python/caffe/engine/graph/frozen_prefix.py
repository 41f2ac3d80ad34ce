"""The frozen prefix of a net: computed once for each image, then reused.

In stage 2 of alternating optimisation the trunk's convolutions are frozen: their result for an image is the same in
every epoch. The layers here process each image of a batch independently, so results can be cached per image.
The layers may branch and join again; the one blob through which they feed the rest of the net is cached.
"""
from __future__ import annotations

import errno
import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence

import torch

from ...proto import caffe_pb2
from .. import device
from ..blob import Blob
from ..layer import Layer
from ..layers.concat import Concat
from .graph import Graph

# Types whose top for an image depends only on that image and the parameters, and preserves the order of the images
_TYPES = frozenset("""AbsVal BNLL Bias Clip Concat Convolution ConvolutionDepthwise DepthwiseConvolution ELU Eltwise Exp
                      LRN Log PReLU Pooling Power ReLU Scale Sigmoid Split Swish TanH Threshold""".split())
_JOINING = frozenset(("Concat", "Eltwise"))     # the types that may have several bottoms
_IMAGE = 0                                      # the layer whose top 0 is the image
_NOT_FROZEN = -1
_WORTH_READING = {"cpu": 4.0, "cuda": 2.0}      # maximum number of cached values per value of the image
_UNIMPORTANT = ("name", "bottom", "top", "param", "phase", "include", "exclude", "propagate_down", "loss_weight",
                "blobs")


def make_prefix(graph: Graph, is_test: bool, cache, preprocessing: str, images: int) -> FrozenPrefix | None:
    """The frozen prefix of a net, run from features in a FeatureCache; see `Net.reuse_frozen_prefix`."""
    if not graph.tops or not graph.tops[_IMAGE]:
        return None
    writers, readers = _frozen_layers(graph, lambda layer: is_test or not graph.parameters.learns(layer))
    parts = _separable_parts(graph, writers, readers)
    prints = _fingerprints(graph, writers, preprocessing)
    known = [part for part in parts if cache.holds(prints[part[-1]])]
    part = max(known or parts, key=len, default=[])
    if not any(graph.layers[place].type == "Convolution" for place in part) or (is_test and not known):
        return None
    source, target = graph.ends[part[0]][0][0], graph.ends[part[-1]][1][0]
    if not _is_worth_reading(source, target) or not cache.fits(target.count // source.shape[0], images):
        return None
    return FrozenPrefix(graph, part, cache.open(prints[part[-1]]))


def _frozen_layers(graph: Graph, is_frozen: Callable[[Layer], bool]) -> tuple[dict[int, list[int]],
                                                                              dict[int, set[int]]]:
    """Find the layers whose tops depend only on the image and on frozen parameters.

    Returns, by layer index, the layers that wrote the values of the bottoms (in their order), and the layers that read
    the values of the top. _IMAGE stands for the image and its copies after a Split. Outputs of the net count as read by
    a layer after the last. Values are identified by their array and the last layer that wrote it, since in-place layers
    overwrite the array and the tops of a Split share it.
    """
    last_writer = {id(graph.ends[_IMAGE][1][0]._data): _IMAGE}
    writers: dict[int, list[int]] = {}
    readers: dict[int, set[int]] = defaultdict(set)

    def writers_of(blobs: Sequence[Blob]) -> list[int]:
        return [last_writer.get(id(blob._data), _NOT_FROZEN) for blob in blobs]

    for place in range(_IMAGE + 1, len(graph.layers)):
        layer, (bottoms, tops) = graph.layers[place], graph.ends[place]
        found, writer = writers_of(bottoms), _NOT_FROZEN
        for source in found:
            readers[source].add(place)
        if layer.type == "Split" and found == [_IMAGE]:
            writer = _IMAGE
        elif _may_be_kept(layer, bottoms, tops, is_frozen) and _NOT_FROZEN not in found \
                and _IMAGE not in writers_of(tops):     # in place on the image, which others may read
            writers[place], writer = found, place
        last_writer.update((id(blob._data), writer) for blob in tops)
    for writer in writers_of(graph.blobs_of(graph.outputs)):
        readers[writer].add(len(graph.layers))
    return writers, readers


def _may_be_kept(layer: Layer, bottoms: Sequence[Blob], tops: Sequence[Blob],
                 is_frozen: Callable[[Layer], bool]) -> bool:
    is_random = layer.type == "Pooling" and layer.param.pooling_param.pool == caffe_pb2.PoolingParameter.STOCHASTIC
    mixes_places = isinstance(layer, Concat) and layer.concat_axis != 1
    return (layer.type in _TYPES and (len(bottoms) == 1 or layer.type in _JOINING)
            and (len(tops) == 1 or layer.type == "Split") and not is_random and not mixes_places
            and not layer.needs_backward and not any(layer.loss_weights) and is_frozen(layer))


def _separable_parts(graph: Graph, writers: dict[int, list[int]],
                     readers: dict[int, set[int]]) -> list[list[int]]:
    """The parts of the frozen layers that the other layers read only through the last top; ascending indices.

    A part is a layer together with all layers that it depends on. No part ends in a Split.
    """
    needed: dict[int, set[int]] = {_IMAGE: set()}
    for place, found in writers.items():
        needed[place] = {place}.union(*(needed[index] for index in found))
    return [sorted(needed[last]) for last in writers if graph.layers[last].type != "Split"
            and all(readers[place] <= needed[last] for place in needed[last] - {last})]


def _image_has_readers(graph: Graph, part: frozenset[int]) -> bool:
    """Whether a layer outside the part reads the values of the image; Split only passes them on."""
    image = graph.ends[_IMAGE][1][0]
    for place, (layer, bottoms, _) in enumerate(graph.connected()):
        unread = getattr(getattr(layer, "user", None), "unread_bottoms", ())
        if place not in part and layer.type != "Split" and any(
                blob.shares_data_with(image) and position not in unread for position, blob in enumerate(bottoms)):
            return True
    return False


def _is_worth_reading(source: Blob, target: Blob) -> bool:
    """Whether features are small enough, compared to the image, that reading them is cheaper than computing them."""
    return target.count <= _WORTH_READING[device.current_device().type] * source.count


def _fingerprints(graph: Graph, writers: dict[int, list[int]], preprocessing: str) -> dict[int, str]:
    """For each frozen layer, a hash of everything its top depends on except the image, including the connections."""
    start = f"{preprocessing} {device.precision()} {device.factor_type(device.float_type())}"
    prints = {_IMAGE: hashlib.sha256(start.encode()).hexdigest()}
    for place, found in writers.items():
        layer, param = graph.layers[place], caffe_pb2.LayerParameter()
        param.CopyFrom(layer.param)
        for name in _UNIMPORTANT:
            param.ClearField(name)      # type: ignore[arg-type]
        digest = hashlib.sha256(" ".join(prints[index] for index in found).encode())
        digest.update(param.SerializeToString(deterministic=True))
        for blob in layer.blobs:
            digest.update(blob.tensor.contiguous().cpu().numpy())
        prints[place] = digest.hexdigest()
    return prints


class FrozenPrefix:
    """Runs the frozen prefix of a net from cached features; created by `Net.reuse_frozen_prefix`.

    The code that feeds the net calls `next_batch` before each pass; without that call everything is computed.

    blob         name of the cached blob
    num_layers   number of skipped layers, not counting Splits
    reads_image  whether other layers read the image too, so that it is always needed
    hits, misses number of images whose features were cached, and whose features had to be computed
    """

    def __init__(self, graph: Graph, part: Sequence[int], store) -> None:
        """part: ascending indices of the layers, the last of which writes the cached blob; store: a FeatureStore."""
        self._graph, self._part, self._store = graph, part, store
        self._source, self._target = graph.ends[part[0]][0][0], graph.ends[part[-1]][1][0]
        self._last_reader = {index: place for place in part for index in graph.bottoms[place]}
        self.places, self.first = frozenset(part), part[0]
        self.blob = graph.blob_names[graph.tops[part[-1]][0]]
        self.num_layers = sum(graph.layers[place].type != "Split" for place in part)
        self.reads_image = _image_has_readers(graph, self.places)
        self.hits = self.misses = 0
        self._batch: tuple[Sequence[str], Sequence[tuple[int, int]], Sequence[int]] | None = None

    def has(self, key: str) -> bool:
        """Whether the features of an image are cached. Once cached, they stay. Thread-safe."""
        return key in self._store

    def next_batch(self, keys: Sequence[str], sizes: Sequence[tuple[int, int]], absent: Sequence[int] = ()) -> None:
        """Announce the images of the next pass.

        keys    one per image: equal keys mean equal pixels
        sizes   (height, width) of each image without padding
        absent  indices of the images that the image blob lacks, because `has` returned True for them

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
        features = [self._features(key, size, index, index in absent)
                    for index, (key, size) in enumerate(zip(keys, sizes, strict=True))]
        for place in self._part:
            self._graph.layers[place].reshape(*self._graph.ends[place])
        for place in self._part:
            for name, top in self._graph.named(self._graph.tops[place]):
                if top is not self._target:
                    top.free(name)
        self._target.tensor = _stacked(features, self._target.shape)

    def _features(self, key: str, size: tuple[int, int], index: int, is_absent: bool) -> torch.Tensor:
        """The features (C, H, W) of one image."""
        kept = self._store.get(key)
        if kept is not None:
            self.hits += 1
            return kept
        if is_absent:
            raise OSError(errno.EIO, "the cached features of an image can no longer be read; start again",
                          str(self._store.folder))
        self.misses += 1
        image = Blob(1, self._source.shape[1], *size)
        image.tensor = self._source.tensor[index:index + 1, :, :size[0], :size[1]]
        features = self._computed(image).stored[0]
        self._store.put(key, features)
        return features

    def _computed(self, image: Blob) -> Blob:
        """Compute the features of one image (1, C, H, W), freeing other blobs after their last reader."""
        graph, blobs = self._graph, dict[int, Blob]()
        for place in self._part:
            bottom = [blobs.get(index, image) for index in graph.bottoms[place]]
            top = [blobs.setdefault(index, Blob()) for index in graph.tops[place]]
            graph.layers[place].reshape(bottom, top)
            graph.layers[place].forward(bottom, top)
            for index in graph.bottoms[place]:
                if self._last_reader[index] == place:
                    blobs.pop(index, None)
        return top[0]


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
