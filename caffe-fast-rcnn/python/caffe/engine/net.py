"""Net: builds a graph of layers from a prototxt as Caffe does, and runs it forward and backward."""
from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ..proto import caffe_pb2, prototxt
from . import layers as _catalogue  # noqa: F401  (fills the registry)
from .blob import Blob
from .fillers import FillerError
from .graph.backward_plan import LayerPlan, prune
from .graph.debug_info import show_backward, show_forward, show_norms
from .graph.frozen_prefix import FrozenPrefix, fingerprints, frozen_chain, is_worth_reading
from .graph.liveness import freed_after, idle_layers
from .graph.phase_filter import filter_layers
from .graph.sharing import ParameterTable
from .graph.splits import insert_splits
from .graph.upgrade import upgrade_net
from .layer import Layer, LayerError, Phase, make_layer
from .layers.memory_data import MemoryData
from .storage.caffemodel import LoadReport, copy_weights, save_net
from .storage.feature_cache import FeatureCache
from .storage.hdf5 import copy_weights_hdf5, save_net_hdf5
from .storage.matching import take_written_blobs

EVENTS = ("before_forward", "after_forward", "before_backward", "after_backward")
AUTOMATIC = "(automatic)"       # the name of tops that a layer makes for itself


class Net:
    """A net in one phase, `caffe.Net("deploy.prototxt", caffe.TEST, weights="w.caffemodel")`.

    network_file  path of a prototxt (any version), or a NetParameter
    phase         caffe.TRAIN or caffe.TEST; overrides the `state` of the file
    level         overrides the level of the file's state; 0 unless given
    stages        names that are added to the stages of the file's state
    weights       a caffemodel (binary or HDF5), or several separated by commas; matched by layer name

    blobs         OrderedDict: blob name -> Blob, in the order of creation, copies made by splits included
    params        OrderedDict: layer name -> its parameter blobs
    layers        the layers; of a Python layer the user's own object
    inputs        names of the tops of Input layers
    outputs       names of the blobs that no layer reads, sorted
    debug_info    log the sizes of values and gradients in every pass; as in the file, and can be set

    Raises PrototxtError for a file that cannot be read and LayerError for a net that cannot be built; both say
    the file and the line. Source: src/caffe/net.cpp.
    """

    def __init__(self, network_file, phase=None, level: int = 0, stages: Sequence[str] | None = None,
                 weights: str | os.PathLike | None = None) -> None:
        if isinstance(phase, (str, os.PathLike)):       # the older form: Net(network_file, weights, phase)
            phase, weights, level = level, phase, 0
        if phase not in (0, 1):
            raise ValueError(f"Net: phase must be caffe.TRAIN or caffe.TEST, got {phase!r}")
        self.path = None if isinstance(network_file, caffe_pb2.NetParameter) else os.fspath(network_file)
        self.phase = Phase(phase)
        try:
            self._build(self._prepare(network_file, level, stages or ()))
        except LayerError as error:
            raise self._located(error) from None
        for path in filter(None, os.fspath(weights or "").split(",")):
            self.copy_from(path)

    # ---- construction
    def _prepare(self, source, level: int, stages: Sequence[str]) -> caffe_pb2.NetParameter:
        net_param = caffe_pb2.NetParameter()
        net_param.CopyFrom(source if self.path is None else prototxt.read_net(self.path))
        upgrade_net(net_param)
        net_param.state.phase = self.phase  # type: ignore[assignment]  # enums are ints to protobuf
        net_param.state.level = level
        net_param.state.stage.extend(stages)
        return insert_splits(filter_layers(net_param))

    def _located(self, error: LayerError) -> LayerError:
        """The same error with file and line in front, where they can be found."""
        name = str(error).split("'")[1] if "'" in str(error) else ""
        line = prototxt.line_of_layer(self.path, name) if self.path else None
        return LayerError(f"{self.path}:{line}: {error}" if line else f"{self.path or 'net'}: {error}")

    def _build(self, net_param: caffe_pb2.NetParameter) -> None:
        self.name = net_param.name
        self._layers: list[Layer] = []
        self._blob_names: list[str] = []
        self._blobs: list[Blob] = []
        self._bottom_indices: list[list[int]] = []
        self._top_indices: list[list[int]] = []
        self._input_indices: list[int] = []
        self._plans: list[LayerPlan] = []
        self._parameters = ParameterTable()
        self._observers: dict[str, list[Callable[[int], None]]] = {event: [] for event in EVENTS}
        self.debug_info = net_param.debug_info
        self._prefix: FrozenPrefix | None = None
        self._idle: set[int] = set()                # layers that a lean net leaves out
        self._freed_after: list[list[int]] = []     # for each layer; empty where the net is not lean
        self._needs_gradient: list[bool] = []       # for each blob
        self._index_of: dict[str, int] = {}
        unread: set[str] = set()
        for layer_param in net_param.layer:
            self._add_layer(layer_param, unread)
        self._plan_backward(net_param.force_backward)
        self._parameters.tie()
        self.inputs = [self._blob_names[index] for index in self._input_indices]
        self.outputs = sorted(unread, key=str.encode)
        self.blobs = OrderedDict(zip(self._blob_names, self._blobs, strict=True))
        self.params = OrderedDict((layer.name, layer.blobs) for layer in self._layers if layer.blobs)

    def _add_layer(self, layer_param, unread: set[str]) -> None:
        if not layer_param.HasField("phase"):
            layer_param.phase = int(self.phase)
        layer = make_layer(layer_param, layer_param.phase)
        flags = list(layer_param.propagate_down)
        if flags and len(flags) != len(layer_param.bottom):
            layer.fail(f"has {len(layer_param.bottom)} bottoms but {len(flags)} propagate_down")
        bottoms = [self._index_of[name] for name in layer_param.bottom]
        unread.difference_update(layer_param.bottom)
        tops = self._add_tops(layer, unread)
        if layer_param.type == "Input":
            self._input_indices.extend(tops)
        self._layers.append(layer)
        self._bottom_indices.append(bottoms)
        self._top_indices.append(tops)
        specs = list(layer_param.param)     # as written: the zeros that BatchNorm adds do not stop the backward pass
        self._set_up(layer, [self._blobs[i] for i in bottoms], [self._blobs[i] for i in tops])
        self._parameters.add_layer(layer)
        layer.param_propagate_down = [index >= len(specs) or specs[index].lr_mult != 0
                                      for index in range(len(layer.blobs))]
        reachable = [self._needs_gradient[index] for index in bottoms]
        plan = LayerPlan(any(reachable) or any(layer.param_propagate_down), flags or reachable)
        self._plans.append(plan)
        if plan.needs_backward:
            for index in tops:
                self._needs_gradient[index] = True

    def _add_tops(self, layer: Layer, unread: set[str]) -> list[int]:
        names = list(layer.param.top)
        tops = []
        for position, name in enumerate(names):
            in_place = position < len(layer.param.bottom) and layer.param.bottom[position] == name
            if not in_place and name in self._index_of:
                layer.fail(f"its top '{name}' is produced by an earlier layer already")
            if in_place and not layer.runs_in_place:
                layer.fail(f"cannot work in place: give its top another name than '{name}'")
            tops.append(self._index_of[name] if in_place else self._new_blob(name))
            self._index_of[name] = tops[-1]
            unread.add(name)
        if layer.auto_top_blobs:
            least = max(layer.min_tops or 0, layer.exact_tops or 0)
            tops.extend(self._new_blob(AUTOMATIC) for _ in range(least - len(names)))
        return tops

    def _new_blob(self, name: str) -> int:
        self._blobs.append(Blob())
        self._blob_names.append(name)
        self._needs_gradient.append(False)
        return len(self._blobs) - 1

    def _set_up(self, layer: Layer, bottom: list[Blob], top: list[Blob]) -> None:
        layer.check_counts(len(bottom), len(top))
        if layer.default_loss_weight and not layer.param.loss_weight:
            layer.param.loss_weight.append(layer.default_loss_weight)
        weights = list(layer.param.loss_weight)
        if weights and len(weights) != len(top):
            layer.fail(f"has {len(top)} tops but {len(weights)} loss_weight; give one for each top, or none")
        layer.loss_weights = weights or [0.0] * len(top)
        try:
            layer.setup(bottom, top)
        except FillerError as error:
            layer.fail(str(error))
        take_written_blobs(layer)
        layer.reshape(bottom, top)
        _seed_loss_gradients(layer, top)

    def _plan_backward(self, force_backward: bool) -> None:
        names = self._blob_names
        prune(self._plans,
              [[names[i] for i in indices] for indices in self._bottom_indices],
              [[names[i] for i in indices] for indices in self._top_indices],
              [layer.loss_weights for layer in self._layers])
        for layer, plan in zip(self._layers, self._plans, strict=True):
            if force_backward:
                plan.needs_backward = True
                plan.propagate_down = [wanted or index not in layer.not_forced
                                       for index, wanted in enumerate(plan.propagate_down)]
                layer.param_propagate_down = [True] * len(layer.blobs)
            layer.needs_backward = plan.needs_backward

    # ---- running
    def _blobs_of(self, indices: list[int]) -> list[Blob]:
        return [self._blobs[index] for index in indices]

    def _forward_layers(self, first: int, last: int) -> None:
        reused: frozenset[int] = frozenset()
        for index in range(first, last + 1):
            self._tell("before_forward", index)
            if self._prefix and index == self._prefix.first and self._prefix.is_ready:
                self._prefix.forward()
                reused = self._prefix.places
            if index not in reused:
                self._forward_layer(index)
            self._tell("after_forward", index)

    def _forward_layer(self, index: int) -> None:
        layer = self._layers[index]
        bottom, top = self._blobs_of(self._bottom_indices[index]), self._blobs_of(self._top_indices[index])
        layer.reshape(bottom, top)
        if self.lean:
            for blob in top:
                blob.allow_writing()
        if index not in self._idle:
            layer.forward(bottom, top)
            _seed_loss_gradients(layer, top)
        if self.lean:
            for freed in self._freed_after[index]:
                self._blobs[freed].free(self._blob_names[freed])
        if self.debug_info and index not in self._idle:
            show_forward(layer, dict(self._named(self._top_indices[index])))

    @property
    def lean(self) -> bool:
        """Whether `make_lean` was called (ours)."""
        return bool(self._freed_after)

    def make_lean(self, keep: Sequence[str] = ()) -> None:
        """Free the values of each blob after its last reader, and leave out layers that end in Silence (ours).

        Values that a backward pass reads stay, and so do inputs, outputs, losses and the blobs named in `keep`;
        reading another blob raises RuntimeError with its name.
        """
        losses = {index for layer, tops in zip(self._layers, self._top_indices, strict=True)
                  for index, weight in zip(tops, layer.loss_weights, strict=True) if weight}
        outputs = {self._index_of[name] for name in (*self.outputs, *keep)}
        structure = self._layers, self._bottom_indices, self._top_indices
        self._idle = idle_layers(*structure, outputs)
        self._freed_after = freed_after(*structure, self._blobs, outputs | losses | set(self._input_indices))

    def reuse_frozen_prefix(self, cache: FeatureCache, preprocessing: str, images: int) -> FrozenPrefix | None:
        """Compute the layers behind the image that no longer learn once for each image, and keep the result (ours).

        cache          where features are kept. Those of other weights or another preprocessing are deleted there
        preprocessing  what else the image depends on beside its key, such as the mean that is subtracted
        images         number of different images that will come

        Returns what is to be told of each batch, or None where nothing is frozen or keeping it does not pay. A test
        net, which sees each image once, only takes part where a training has left features of the same layers.
        Features of an image that is padded to the size of a larger one are those of the image alone, padded: next to
        the padding they differ from those of the padded image.
        """
        places = frozen_chain(self._layers, self._bottom_indices, self._top_indices,
                              lambda layer: self.phase == Phase.TEST or not self._parameters.learns(layer))
        chain = [self._layers[place] for place in places]
        prints = list(fingerprints(chain, preprocessing))
        known = [length for length, fingerprint in enumerate(prints, 1) if cache.holds(fingerprint)]
        length = max(known) if known else len(prints)
        if not any(layer.type == "Convolution" for layer in chain[:length]) or (self.phase == Phase.TEST and not known):
            return None
        blobs = [(self._blobs[self._bottom_indices[place][0]], self._blobs[self._top_indices[place][0]])
                 for place in places[:length]]
        source, target = blobs[0][0], blobs[-1][1]
        if not is_worth_reading(source, target) or not cache.fits(target.count // source.shape[0], images):
            return None
        names = [self._blob_names[self._top_indices[place][0]] for place in places[:length]]
        self._prefix = FrozenPrefix(chain[:length], blobs, names, places[:length], cache.open(prints[length - 1]),
                                    self._image_has_readers(places[0]))
        return self._prefix

    def _image_has_readers(self, trunk: int) -> bool:
        """Whether a layer other than the trunk's first reads the values of the image; Split only hands them on."""
        image = self._blobs[self._top_indices[0][0]]
        for place, (layer, bottoms) in enumerate(zip(self._layers, self._bottom_indices, strict=True)):
            unread = getattr(getattr(layer, "user", None), "unread_bottoms", ())
            if place != trunk and layer.type != "Split" and any(
                    self._blobs[index].shares_data_with(image) and position not in unread
                    for position, index in enumerate(bottoms)):
                return True
        return False

    def _backward_layers(self, first: int, last: int) -> None:
        for index in range(first, last - 1, -1):
            self._tell("before_backward", index)
            if self._plans[index].needs_backward:
                self._backward_layer(self._layers[index], self._plans[index], index)
            self._tell("after_backward", index)

    def _backward_layer(self, layer: Layer, plan: LayerPlan, index: int) -> None:
        for position in layer.no_backward_to:
            if position < len(plan.propagate_down) and plan.propagate_down[position]:
                layer.fail(f"has no gradient for its bottom {position} "
                           f"('{layer.param.bottom[position]}'); set propagate_down: false for it")
        layer.backward(self._blobs_of(self._top_indices[index]), plan.propagate_down,
                       self._blobs_of(self._bottom_indices[index]))
        if self.debug_info:
            show_backward(layer, plan, self._named(self._bottom_indices[index]))

    # ---- observers
    def before_forward(self, function: Callable[[int], None]) -> None:
        """Call the function with the index of each layer before its forward pass."""
        self._observers["before_forward"].append(function)

    def after_forward(self, function: Callable[[int], None]) -> None:
        """Call the function with the index of each layer after its forward pass."""
        self._observers["after_forward"].append(function)

    def before_backward(self, function: Callable[[int], None]) -> None:
        """Call the function with the index of each layer before its backward pass, whether it has one or not."""
        self._observers["before_backward"].append(function)

    def after_backward(self, function: Callable[[int], None]) -> None:
        """Call the function with the index of each layer after its backward pass, whether it has one or not."""
        self._observers["after_backward"].append(function)

    def remove_observer(self, function: Callable[[int], None]) -> None:
        """Call a function that was given to one of the above no more (ours)."""
        for observers in self._observers.values():
            observers[:] = [observer for observer in observers if observer != function]

    def _tell(self, event: str, index: int) -> None:
        for function in self._observers[event]:
            function(index)

    def _named(self, indices: list[int]) -> list[tuple[str, Blob]]:
        return [(self._blob_names[index], self._blobs[index]) for index in indices]

    def _layer_index(self, name: str) -> int:
        names = self._layer_names
        if name not in names:
            raise ValueError(f"{self.path or 'net'} has no layer '{name}'")
        return names.index(name)

    def forward(self, blobs: Sequence[str] | None = None, start: str | None = None, end: str | None = None,
                **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run the layers from `start` to `end`, both included (names; all unless given).

        blobs    names of blobs to return beside the outputs
        inputs   arrays for the net's inputs, by name; all of them or none, each with its blob's shape, or with its
                 first dimension and a shape that NumPy spreads over it
        Returns  {name: blob.data} of the outputs (of the tops of `end`, where given) and of `blobs`.
        Raises ValueError for inputs that do not fit.
        """
        if inputs:
            self._set_inputs(inputs)
        first = self._layer_index(start) if start is not None else 0
        last = self._layer_index(end) if end is not None else len(self._layers) - 1
        self._forward_layers(first, last)
        names = list(self.top_names[end]) if end is not None else list(self.outputs)
        return {name: self.blobs[name].data for name in [*names, *(blobs or ())]}

    def _set_inputs(self, arrays: dict[str, np.ndarray]) -> None:
        if set(arrays) != set(self.inputs):
            raise ValueError(f"forward: inputs {sorted(arrays)} given, this net takes {sorted(self.inputs)}")
        for name, array in arrays.items():
            self.blobs[name].discard()
            _put(f"forward: input '{name}'", array, self.blobs[name].data,
                 f"; call net.blobs['{name}'].reshape(...) first")

    def backward(self, diffs: Sequence[str] | None = None, start: str | None = None, end: str | None = None,
                 **outputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run the layers backward from `start` down to `end`, both included (names; all unless given).

        diffs    names of blobs whose gradient to return beside those of the inputs
        outputs  gradients of the net's outputs, by name; all of them or none, shaped as `forward` takes inputs
        Returns  {name: blob.diff} of the inputs (of the bottoms of `end`, where given) and of `diffs`.
        Raises ValueError for gradients that do not fit.
        """
        if outputs and set(outputs) != set(self.outputs):
            raise ValueError(f"backward: gradients of {sorted(outputs)} given, this net has the outputs "
                             f"{sorted(self.outputs)}; for other blobs write net.blobs[name].diff")
        for name, array in outputs.items():
            _put(f"backward: diff of '{name}'", array, self.blobs[name].diff)
        first = self._layer_index(start) if start is not None else len(self._layers) - 1
        last = self._layer_index(end) if end is not None else 0
        self._backward_layers(first, last)
        names = list(self.bottom_names[end]) if end is not None else list(self.inputs)
        return {name: self.blobs[name].diff for name in [*names, *(diffs or ())]}

    def forward_with_loss(self) -> torch.Tensor:
        """Run all layers; returns the weighted sum of the losses, a 0-d tensor on the device."""
        self._forward_layers(0, len(self._layers) - 1)
        return self.loss()

    def loss(self) -> torch.Tensor:
        """The weighted sum of the loss tops as they are now, a 0-d tensor on the device."""
        terms = [self._blobs[index].tensor.sum() * weight
                 for layer, tops in zip(self._layers, self._top_indices, strict=True)
                 for index, weight in zip(tops, layer.loss_weights, strict=True) if weight]
        return torch.stack(terms).sum() if terms else torch.zeros(())

    def run_backward(self) -> None:
        """Run all layers backward, without looking at any result."""
        self._backward_layers(len(self._layers) - 1, 0)
        if self.debug_info:
            show_norms(self.learnable_params)

    def reshape(self) -> None:
        """Bring the shapes of all blobs up to date after an input was reshaped."""
        for layer, bottoms, tops in zip(self._layers, self._bottom_indices, self._top_indices, strict=True):
            layer.reshape(self._blobs_of(bottoms), self._blobs_of(tops))

    def set_input_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Give the MemoryData layer, which must come first, its data (N, C, H, W) and N labels."""
        layer = self._layers[0]
        if not isinstance(layer, MemoryData):
            layer.fail("set_input_arrays is for nets whose first layer is MemoryData")
        layer.set_arrays(data, labels)

    def clear_param_diffs(self) -> None:
        """Set the gradients of all parameters to zero; backward adds to them."""
        for blob in self.learnable_params:
            blob.zero_grad()

    # ---- parameters
    @property
    def learnable_params(self) -> list[Blob]:
        """The parameters, each once: of shared ones the owner's blob."""
        return self._parameters.learnable

    @property
    def params_lr(self) -> list[float]:
        """lr_mult of each of `learnable_params`."""
        return self._parameters.lr_mult

    @property
    def params_weight_decay(self) -> list[float]:
        """decay_mult of each of `learnable_params`."""
        return self._parameters.decay_mult

    @property
    def gradient_layers(self) -> list[list[int]]:
        """For each of `learnable_params` the layers, by index, whose backward pass adds to its gradient (ours)."""
        found: list[list[int]] = [[] for _ in self.learnable_params]
        positions = iter(self._parameters.learnable_index)
        for index, (layer, plan) in enumerate(zip(self._layers, self._plans, strict=True)):
            for wanted in layer.param_propagate_down:
                position = next(positions)
                if wanted and plan.needs_backward:
                    found[position].append(index)
        return found

    def copy_from(self, path) -> LoadReport:
        """Load the weights of a caffemodel, binary or HDF5, into the layers of the same names.

        Returns a report (ours): `unused`, layers of the file that this net lacks, and `unfilled`, layers with
        parameters that the file lacks; both are in the log as well.
        """
        return copy_weights(self, path)

    def load_hdf5(self, path) -> None:
        """Load the weights of an HDF5 caffemodel into the layers of the same names."""
        copy_weights_hdf5(self, path)

    def save(self, path) -> None:
        """Write the net and its weights as a binary caffemodel; the file is replaced in one step."""
        save_net(self, path)

    def save_trained(self, path) -> None:
        """As `save`, without the layers that never run backward and use weights of a layer that does (ours).

        The readonly head of hard example mining is such a copy; loading the file fills it from the trained head.
        """
        trained = {id(blob._data) for layer in self._layers if layer.needs_backward for blob in layer.blobs}
        copies = [layer.name for layer in self._layers if layer.blobs and not layer.needs_backward
                  and all(id(blob._data) in trained for blob in layer.blobs)]
        save_net(self, path, skip_layers=copies)

    def save_hdf5(self, path) -> None:
        """Write the weights as an HDF5 caffemodel; of shared parameters only the owner's."""
        save_net_hdf5(self, path)

    def share_with(self, other: Net) -> None:
        """Use the parameters of another net's layers of the same names. Raises LayerError where shapes differ."""
        for layer in self._layers:
            blobs = other.params.get(layer.name)
            if not layer.blobs or blobs is None:
                continue
            if [blob.shape for blob in blobs] != [blob.shape for blob in layer.blobs]:
                layer.fail(f"cannot share parameters of shapes {[b.shape for b in blobs]}; "
                           f"its own are {[b.shape for b in layer.blobs]}")
            for mine, theirs in zip(layer.blobs, blobs, strict=True):
                mine.share_data(theirs)

    share_trained_layers_with = share_with

    # ---- structure
    @property
    def layers(self) -> list:
        """The layers in order; a Python layer as the object of the user's class."""
        return [getattr(layer, "user", layer) for layer in self._layers]

    @property
    def engine_layers(self) -> list[Layer]:
        """The layers in order as the engine sees them (ours)."""
        return self._layers

    @property
    def _layer_names(self) -> list[str]:
        return [layer.name for layer in self._layers]

    layer_names = _layer_names

    @property
    def layer_dict(self) -> OrderedDict:
        """Layer name -> layer."""
        return OrderedDict(zip(self._layer_names, self.layers, strict=True))

    def _names(self, indices: list[list[int]]) -> OrderedDict[str, list[str]]:
        return OrderedDict((layer.name, [self._blob_names[i] for i in own])
                           for layer, own in zip(self._layers, indices, strict=True))

    @property
    def bottom_names(self) -> OrderedDict[str, list[str]]:
        """Layer name -> names of its bottoms."""
        return self._names(self._bottom_indices)

    @property
    def top_names(self) -> OrderedDict[str, list[str]]:
        """Layer name -> names of its tops."""
        return self._names(self._top_indices)

    def _bottom_ids(self, layer_index: int) -> list[int]:
        return self._bottom_indices[layer_index]

    def _top_ids(self, layer_index: int) -> list[int]:
        return self._top_indices[layer_index]

    @property
    def blob_loss_weights(self) -> OrderedDict[str, float]:
        """Blob name -> its loss weight, 0 for blobs that are no losses."""
        weights = OrderedDict((name, 0.0) for name in self._blob_names)
        for layer, tops in zip(self._layers, self._top_indices, strict=True):
            for index, weight in zip(tops, layer.loss_weights, strict=True):
                weights[self._blob_names[index]] = weight
        return weights


def _put(what: str, values: np.ndarray, target: np.ndarray, advice: str = "") -> None:
    """Write values into an array of as many items, as pycaffe does. Raises ValueError where they do not fit."""
    if np.shape(values)[:1] == target.shape[:1]:
        try:
            target[...] = values
            return
        except ValueError:
            pass        # told below
    raise ValueError(f"{what} has shape {np.shape(values)}, its blob {target.shape}{advice}")


def _seed_loss_gradients(layer: Layer, top: list[Blob]) -> None:
    """The gradient of a loss with respect to itself is its weight; a reshaped top needs it anew."""
    for blob, weight in zip(top, layer.loss_weights, strict=True):
        if weight and not blob.has_grad:
            blob.grad = torch.full_like(blob.grad, weight)
