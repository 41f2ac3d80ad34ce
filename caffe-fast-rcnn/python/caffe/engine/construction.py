"""Builds the graph of a net from its message, as Caffe does. Source: Net::Init in src/caffe/net.cpp."""
from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence

from ..proto import caffe_pb2
from . import device
from . import layers as _catalogue  # noqa: F401  (fills the registry)
from .blob import Blob, BlobError
from .files.matching import take_written_blobs
from .fillers import FillerError, within_memory
from .graph.backward_plan import LayerPlan, prune
from .graph.construction_log import ConstructionLog
from .graph.graph import Graph, seed_loss_gradients
from .graph.number_ranges import check_numbers
from .graph.phase_filter import filter_layers
from .graph.saved_values import check_late_readers
from .graph.splits import insert_splits
from .graph.upgrade import upgrade_net
from .layer import Layer, LayerError, Phase, make_layer

AUTOMATIC = "(automatic)"       # the name of tops that a layer creates automatically


def prepare(source: caffe_pb2.NetParameter, phase: Phase, level: int,
            stages: Sequence[str]) -> caffe_pb2.NetParameter:
    """The layers of a net in one state: upgraded, filtered, with splits. The given message is not changed.

    phase   replaces the phase of the message's state
    level   replaces its level
    stages  names added to its stages
    """
    net_param = caffe_pb2.NetParameter()
    net_param.CopyFrom(source)
    upgrade_net(net_param)
    net_param.state.CopyFrom(state_of(net_param, phase, level, stages))
    try:
        return insert_splits(filter_layers(net_param))
    except LayerError as error:
        if not source.input or source.input_shape or source.input_dim:
            raise
        raise LayerError(f"{error}; the net's `input` has no shape, and so no effect: give each input an "
                         "`input_shape { dim: ... }`", error.layer) from None


def state_of(source: caffe_pb2.NetParameter, phase: Phase, level: int, stages: Sequence[str]) -> caffe_pb2.NetState:
    """The state of a net, with which its layers are selected; see `prepare`."""
    state = caffe_pb2.NetState()
    state.CopyFrom(source.state)
    state.phase = phase  # type: ignore[assignment]  # enums are ints to protobuf
    state.level = level
    state.stage.extend(stages)
    return state


def build(net_param: caffe_pb2.NetParameter, phase: Phase) -> Graph:
    """Create and set up the layers of a message from `prepare`, and connect them. Raises LayerError.

    phase  the phase of layers that do not set one
    """
    device.survive_forks()
    builder = _Builder(phase)
    names: Counter[str] = Counter()
    with within_memory():
        for layer_param in net_param.layer:
            place = names[layer_param.name]
            names[layer_param.name] += 1
            try:
                builder.add_layer(layer_param, place)
            except LayerError as error:
                error.place = place
                raise
    graph = builder.graph
    _plan_backward(graph, net_param.force_backward, builder.log)
    graph.parameters.tie()
    check_late_readers(graph)
    graph.preset = [index for index, blob in enumerate(graph.blobs) if blob.has_values]
    graph.outputs = [graph.index_of[name] for name in sorted(builder.unread, key=str.encode)]
    builder.log.done(graph)
    return graph


class _Builder:
    """A graph to which layers are added one by one.

    unread  names of blobs that no layer has read yet
    log     logs each layer
    """

    def __init__(self, phase: Phase) -> None:
        self.graph = Graph()
        self.unread: set[str] = set()
        self.log = ConstructionLog()
        self._phase = phase
        self._needs_gradient: list[bool] = []       # for each blob

    def add_layer(self, layer_param, place: int) -> None:
        """Create, connect and set up a layer; `place` layers of the same name come before it."""
        graph = self.graph
        if not layer_param.HasField("phase"):
            layer_param.phase = int(self._phase)
        layer = make_layer(layer_param, layer_param.phase)
        layer.place = place
        flags = list(layer_param.propagate_down)
        if flags and len(flags) != len(layer_param.bottom):
            layer.fail(f"has {len(layer_param.bottom)} bottoms but {len(flags)} propagate_down")
        bottoms = [graph.index_of[name] for name in layer_param.bottom]
        self.unread.difference_update(layer_param.bottom)
        tops = self._add_tops(layer)
        if layer_param.type == "Input":
            graph.inputs.extend(tops)
        graph.layers.append(layer)
        graph.bottoms.append(bottoms)
        graph.tops.append(tops)
        specs = list(layer_param.param)     # as written: the zeros that BatchNorm adds do not stop the backward pass
        self.log.connected(layer, layer_param.bottom, graph.names_of(tops))
        _set_up(layer, graph.blobs_of(bottoms), graph.blobs_of(tops))
        self.log.set_up(layer, graph.blobs_of(tops))
        graph.parameters.add_layer(layer)
        layer.param_propagate_down = [index >= len(specs) or specs[index].lr_mult != 0
                                      for index in range(len(layer.blobs))]
        reachable = [self._needs_gradient[index] for index in bottoms]
        plan = LayerPlan(any(reachable) or any(layer.param_propagate_down), flags or reachable)
        graph.plans.append(plan)
        if plan.needs_backward:
            for index in tops:
                self._needs_gradient[index] = True

    def _add_tops(self, layer: Layer) -> list[int]:
        names, index_of = list(layer.param.top), self.graph.index_of
        tops = []
        for position, name in enumerate(names):
            in_place = position < len(layer.param.bottom) and layer.param.bottom[position] == name
            if not in_place and name in index_of:
                layer.fail(f"its top '{name}' is produced by an earlier layer already")
            if in_place and not layer.runs_in_place:
                layer.fail(f"cannot work in place: give its top another name than '{name}'")
            tops.append(index_of[name] if in_place else self._new_blob(name))
            index_of[name] = tops[-1]
            self.unread.add(name)
        if layer.auto_top_blobs:
            least = max(layer.min_tops or 0, layer.exact_tops or 0)
            tops.extend(self._new_blob(AUTOMATIC) for _ in range(least - len(names)))
        return tops

    def _new_blob(self, name: str) -> int:
        self.graph.blobs.append(Blob())
        self.graph.blob_names.append(name)
        self._needs_gradient.append(False)
        return len(self.graph.blobs) - 1


def _set_up(layer: Layer, bottom: list[Blob], top: list[Blob]) -> None:
    layer.check_counts(len(bottom), len(top))
    if layer.default_loss_weight and not layer.param.loss_weight:
        layer.param.loss_weight.extend([layer.default_loss_weight] + [0.0] * (len(top) - 1))
    weights = list(layer.param.loss_weight)
    if weights and len(weights) != len(top):
        layer.fail(f"has {len(top)} tops but {len(weights)} loss_weight; give one for each top, or none")
    layer.loss_weights = weights or [0.0] * len(top)
    check_numbers(layer)
    with errors_of(layer, bottom):
        layer.setup(bottom, top)
        take_written_blobs(layer)
        layer.reshape(bottom, top)
    seed_loss_gradients(layer, top)


@contextlib.contextmanager
def errors_of(layer: Layer, bottom: Sequence[Blob]) -> Iterator[None]:
    """Report an impossible blob shape, a bad filler or a lack of memory in the block as an error of the layer.

    So are errors of PyTorch where a bottom has no values. Other errors, and those of users' Python layers, stay.
    """
    try:
        yield
    except (BlobError, FillerError) as error:
        layer.fail(str(error))
    except (IndexError, MemoryError, RuntimeError) as error:
        if device.is_out_of_memory(error):
            layer.fail(f"there is too little memory: {error}")
        if layer.type != "Python" and not all(blob.count for blob in bottom):
            layer.fail(f"cannot compute with a bottom without values, found shapes {[blob.shape for blob in bottom]}")
        raise


def _plan_backward(graph: Graph, force_backward: bool, log: ConstructionLog) -> None:
    prune(graph.plans, [graph.names_of(indices) for indices in graph.bottoms],
          [graph.names_of(indices) for indices in graph.tops], [layer.loss_weights for layer in graph.layers])
    log.planned(graph)
    for layer, plan in zip(graph.layers, graph.plans, strict=True):
        if force_backward:
            plan.needs_backward = True
            plan.propagate_down = [wanted or index not in layer.not_forced
                                   for index, wanted in enumerate(plan.propagate_down)]
            layer.param_propagate_down = [True] * len(layer.blobs)
        layer.needs_backward = plan.needs_backward
