"""Net: a graph of layers made from a prototxt, which runs forward and backward."""
from __future__ import annotations

import contextlib
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch

from ..proto import caffe_pb2, prototxt
from . import construction
from .blob import Blob
from .files.caffemodel import LoadReport, copy_weights, save_net
from .files.feature_cache import FeatureCache
from .files.hdf5 import copy_weights_hdf5, save_net_hdf5
from .graph.debug_info import show_backward, show_forward, show_norms
from .graph.frozen_prefix import FrozenPrefix, make_prefix
from .graph.gradient_flow import GradientFlow
from .graph.graph import seed_loss_gradients
from .graph.liveness import freed_after, idle_layers
from .graph.missing_gradients import missing_gradients
from .graph.overwritten_losses import overwritten_gradients, overwritten_values
from .graph.pass_order import PassOrder
from .graph.saved_values import plan_saving
from .graph.sharing import copies_of_trained, share_by_name
from .graph.source_file import SourceFile
from .graph.unread_settings import unread_settings
from .layer import Layer, LayerError, NamedBlobs, Phase
from .layers.memory_data import MemoryData

log = logging.getLogger("caffe")
EVENTS = ("before_forward", "after_forward", "before_backward", "after_backward")


class Net:
    """A net in one phase, `caffe.Net("deploy.prototxt", caffe.TEST, weights="w.caffemodel")`.

    network_file  path of a prototxt (any version), or a NetParameter
    phase         caffe.TRAIN or caffe.TEST; overrides the `state` of the file
    level         overrides the level of the file's state; 0 unless given
    stages        names added to the stages of the file's state
    weights       a caffemodel (binary or HDF5), or several separated by commas; matched by layer name
    force_backward  compute the gradients of the inputs and of frozen layers too, as the file's field does (ours)

    blobs         OrderedDict: blob name -> Blob, in the order of creation, including the copies made by splits
    params        OrderedDict: layer name -> its parameter blobs
    layers        the layers; for Python layers the user's object
    inputs        names of the tops of Input layers
    outputs       names of the blobs that no layer reads, sorted
    debug_info    log the magnitudes of values and gradients in every pass; initially as in the file

    Raises PrototxtError for a file that cannot be read and LayerError for a net that cannot be built; both name
    file and line. Source: src/caffe/net.cpp.
    """

    def __init__(self, network_file, phase=None, level: int | None = None, stages: Sequence[str] | None = None,
                 weights: str | os.PathLike | None = None, force_backward: bool = False) -> None:
        if isinstance(phase, (str, os.PathLike)):       # the older form: Net(network_file, weights, phase)
            phase, weights, level = level, phase, None
        if phase not in (0, 1):
            raise ValueError(f"Net: phase must be caffe.TRAIN or caffe.TEST, got {phase!r}")
        if isinstance(level, (str, os.PathLike)):
            raise TypeError(f"Net: level must be a whole number, got {level!r}; weights are given as "
                            "Net(file, phase, weights=path)")
        level = level or 0
        if isinstance(stages, str):
            raise TypeError(f"Net: stages must be a list of names, got {stages!r}")
        self.path = None if isinstance(network_file, caffe_pb2.NetParameter) else os.fspath(network_file)
        self.phase = Phase(phase)
        definition = network_file if self.path is None else prototxt.read_net(self.path)
        self._source = SourceFile(self.path, definition,
                                  construction.state_of(definition, self.phase, level, stages or ()))
        try:
            net_param = construction.prepare(definition, self.phase, level, stages or ())
            net_param.force_backward |= force_backward
            graph = self._graph = construction.build(net_param, self.phase)
        except LayerError as error:
            raise self._source.located(error) from None
        self._warn_of_unread_settings()
        self._saved, self._gradient_flow, self._pass_order = plan_saving(graph), GradientFlow(graph), PassOrder()
        self.name = net_param.name
        self.inputs, self.outputs = graph.names_of(graph.inputs), graph.names_of(graph.outputs)
        self.blobs = NamedBlobs(zip(graph.blob_names, graph.blobs, strict=True))
        self.params = NamedBlobs((layer.name, layer.blobs) for layer in graph.layers if layer.blobs)
        self.debug_info = net_param.debug_info
        self._observers: dict[str, list[Callable[[int], None]]] = {event: [] for event in EVENTS}
        self._overwritten_values, self._overwritten_gradients = overwritten_values(graph), overwritten_gradients(graph)
        self._kept_losses: dict[int, list[torch.Tensor]] = {}       # of `_overwritten_values`, in the last pass
        self._warned_missing: set[str] = set()        # blobs, see `_warn_of_missing_gradients`
        self._prefix: FrozenPrefix | None = None
        self._idle: set[int] = set()                # layers that `free_intermediates` skips
        self._freed_after: list[list[int]] = []     # for each layer; empty before `free_intermediates`
        for path in filter(None, os.fspath(weights or "").split(",")):
            self.copy_from(path)

    def _warn_of_unread_settings(self) -> None:
        for layer in self._graph.layers:
            if unread := unread_settings(layer):
                log.warning("%s: layer '%s' (%s) does not read %s: no effect", self._source.place_of(layer), layer.name,
                            layer.type, ", ".join(unread))

    @contextlib.contextmanager
    def _errors_of(self, index: int) -> Iterator[None]:
        """Report errors of a layer in the block as LayerError, with its file and line unless they are a user's layer's.

        See also `construction.errors_of`.
        """
        layer = self._graph.layers[index]
        try:
            with construction.errors_of(layer, self._graph.ends[index][0]):
                yield
        except LayerError as error:
            if self.path is None or layer.type == "Python":
                raise
            error.place = layer.place
            raise self._source.located(error) from error

    # ---- running
    def _layer_index(self, name: str) -> int:
        names = self._layer_names
        if name not in names:
            raise ValueError(f"{self.path or 'net'} has no layer '{name}'")
        return names.index(name)

    def forward(self, blobs: Sequence[str] | None = None, start: str | None = None, end: str | None = None,
                **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run the layers from `start` to `end`, both included (names; all unless given).

        blobs    names of blobs to return in addition to the outputs
        inputs   arrays for the net's inputs, by name; all of them or none, each with its blob's shape, or with its
                 first dimension and a shape that broadcasts to it
        Returns  {name: blob.data} of the outputs (of the tops of `end`, if given) and of `blobs`.
        Raises ValueError for inputs of the wrong shape.
        """
        named = _as_list("forward: blobs", blobs)
        if inputs:
            self._set_inputs(inputs)
        first = self._layer_index(start) if start is not None else 0
        last = self._layer_index(end) if end is not None else len(self._graph.layers) - 1
        self._forward_layers(first, last)
        names = list(self.top_names[end]) if end is not None else list(self.outputs)
        return {name: self.blobs[name].data for name in [*names, *named]}

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

        diffs    names of blobs whose gradients to return in addition to those of the inputs
        outputs  gradients of the net's outputs, by name; all of them or none, with shapes as for `forward`'s inputs
        Returns  {name: blob.diff} of the inputs (of the bottoms of `end`, if given) and of `diffs`. Gradients that no
                 layer computes, since nothing below is learned, are zero; a warning says so once, and what to do.
        Raises ValueError for gradients of the wrong shape.
        """
        named = _as_list("backward: diffs", diffs)
        if outputs and set(outputs) != set(self.outputs):
            raise ValueError(f"backward: gradients of {sorted(outputs)} given, this net has the outputs "
                             f"{sorted(self.outputs)}; for other blobs write net.blobs[name].diff")
        for name, array in outputs.items():
            _put(f"backward: diff of '{name}'", array, self.blobs[name].diff)
        first = self._layer_index(start) if start is not None else len(self._graph.layers) - 1
        last = self._layer_index(end) if end is not None else 0
        self._backward_layers(first, last)
        names = [*(self.bottom_names[end] if end is not None else self.inputs), *named]
        found = {name: self.blobs[name].diff for name in names}
        self._warn_of_missing_gradients(found)
        return found

    def _warn_of_missing_gradients(self, names: Iterable[str]) -> None:
        missing = [name for name in missing_gradients(self._graph, names) if name not in self._warned_missing]
        if missing:
            self._warned_missing.update(missing)
            log.warning("%s: backward: no layer computes the gradient of %s, which is zero: nothing below is learned. "
                         "Set `force_backward: true` in the net, or use caffe.Net(..., force_backward=True)",
                         self.path or "net", ", ".join(f"'{name}'" for name in missing))

    def forward_with_loss(self) -> torch.Tensor:
        """Run all layers; returns the weighted sum of the losses, a 0-d tensor on the device."""
        self._forward_layers(0, len(self._graph.layers) - 1)
        return self.loss()

    def loss(self) -> torch.Tensor:
        """The weighted sum of the loss tops as they are now, a 0-d tensor on the device.

        Losses that an in-place layer has overwritten count as they were before.
        """
        return self._loss_of(0, len(self._graph.layers) - 1)

    def _loss_of(self, first: int, last: int) -> torch.Tensor:
        """The loss of layers `first` to `last`, both included."""
        terms = [term for place in range(first, last + 1)
                 for term in self._kept_losses.get(place) or self._graph.losses_of(place)]
        return torch.stack(terms).sum() if terms else torch.zeros(())

    def run_backward(self) -> None:
        """Run all layers backward, without fetching any result."""
        self._backward_layers(len(self._graph.layers) - 1, 0)
        if self.debug_info:
            show_norms(self.learnable_params)

    def reshape(self) -> None:
        """Update the shapes of all blobs after an input was reshaped."""
        for index, (layer, bottoms, tops) in enumerate(self._graph.connected()):
            with self._errors_of(index):
                layer.reshape(bottoms, tops)
            seed_loss_gradients(layer, tops)

    def set_input_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Give the MemoryData layer, which must come first, its data (N, C, H, W) and N labels."""
        layer = self._graph.layers[0]
        if not isinstance(layer, MemoryData):
            layer.fail("set_input_arrays is for nets whose first layer is MemoryData")
        layer.set_arrays(data, labels)

    def clear_param_diffs(self) -> None:
        """Set the gradients of all parameters to zero; backward adds to them."""
        for blob in self.learnable_params:
            blob.zero_grad()

    # ---- layer by layer
    def _forward_layers(self, first: int, last: int) -> None:
        self._gradient_flow.end_pass()
        reused: frozenset[int] = frozenset()
        for index in range(first, last + 1):
            self._notify("before_forward", index)
            if self._prefix and index == self._prefix.first and self._prefix.is_ready:
                self._prefix.forward()
                reused = self._prefix.places
            if index not in reused:
                self._forward_layer(index)
            self._notify("after_forward", index)

    def _forward_layer(self, index: int) -> None:
        graph = self._graph
        layer, (bottom, top) = graph.layers[index], graph.ends[index]
        try:
            layer.reshape(bottom, top)
            if self.frees_intermediates:
                for blob in top:
                    blob.allow_writing()
            if index not in self._idle:
                self._gradient_flow.before_forward(index)
                self._saved.get(index, layer).forward(bottom, top)
                self._pass_order.ran_forward(index, [*bottom, *top])
                seed_loss_gradients(layer, top, index in self._overwritten_gradients)
                if index in self._overwritten_values:
                    self._kept_losses[index] = graph.losses_of(index)
        except Exception:
            with self._errors_of(index):        # only now: entering it in every pass takes time
                raise
        if self.frees_intermediates:
            for freed in self._freed_after[index]:
                graph.blobs[freed].free(graph.blob_names[freed])
        if self.debug_info and index not in self._idle:
            show_forward(layer, dict(graph.named(graph.tops[index])))

    def _backward_layers(self, first: int, last: int) -> None:
        self._gradient_flow.begin(first, last)
        for index in range(first, last - 1, -1):
            self._notify("before_backward", index)
            if self._graph.plans[index].needs_backward:
                self._backward_layer(index)
            self._notify("after_backward", index)

    def _backward_layer(self, index: int) -> None:
        graph = self._graph
        layer, plan, (bottom, top) = graph.layers[index], graph.plans[index], graph.ends[index]
        for position in layer.no_backward_to:
            if position < len(plan.propagate_down) and plan.propagate_down[position]:
                with self._errors_of(index):
                    layer.fail(f"has no gradient for its bottom {position} "
                               f"('{layer.param.bottom[position]}'); set propagate_down: false for it")
        self._gradient_flow.before_backward(index)
        if index in self._saved:
            bottom, top = self._saved[index].restored(bottom, top)
        try:
            layer.backward(self._gradient_flow.tops(index, top), plan.propagate_down, bottom)
        except Exception as error:
            with self._errors_of(index):
                self._pass_order.check_after(error, index, layer, [*bottom, *top])
                raise
        if self.debug_info:
            show_backward(layer, plan, graph.named(graph.bottoms[index]))

    # ---- work that can be skipped
    @property
    def frees_intermediates(self) -> bool:
        """Whether `free_intermediates` was called (ours)."""
        return bool(self._freed_after)

    def free_intermediates(self, keep: Sequence[str] = ()) -> None:
        """Free the values of each blob after its last use, and skip layers that end in Silence (ours).

        Values that a backward pass reads are kept, as are inputs, outputs, losses and the blobs named in `keep`;
        reading another blob raises a RuntimeError that names it.
        """
        kept = {self._graph.index_of[name] for name in (*self.outputs, *keep)}
        self._idle, self._freed_after = idle_layers(self._graph, kept), freed_after(self._graph, kept)

    def reuse_frozen_prefix(self, cache: FeatureCache, preprocessing: str, images: int) -> FrozenPrefix | None:
        """Compute the frozen layers after the image once per image, and cache the result (ours).

        The layers may branch; the cached result is the last blob through which alone they feed the rest of the net.

        cache          where features are stored; features of other weights or another preprocessing are deleted from it
        preprocessing  what the image depends on besides its key, such as the subtracted mean
        images         number of distinct images

        Returns the object whose `next_batch` must be called before each pass, or None if nothing is frozen or caching
        does not pay off. A test net, which sees each image once, only uses features left by a training with the same
        layers. The features of a padded image are those of the unpadded image, padded: next to the padding they differ
        from those computed from the padded image.
        """
        self._prefix = make_prefix(self._graph, self.phase == Phase.TEST, cache, preprocessing, images)
        return self._prefix

    # ---- observers
    def before_forward(self, function: Callable[[int], None]) -> None:
        """Call the function with the index of each layer before its forward pass."""
        self._observers["before_forward"].append(function)

    def after_forward(self, function: Callable[[int], None]) -> None:
        """Call the function with the index of each layer after its forward pass."""
        self._observers["after_forward"].append(function)

    def before_backward(self, function: Callable[[int], None]) -> None:
        """Call the function with the index of each layer before its backward pass, even if it has none."""
        self._observers["before_backward"].append(function)

    def after_backward(self, function: Callable[[int], None]) -> None:
        """Call the function with the index of each layer after its backward pass, even if it has none."""
        self._observers["after_backward"].append(function)

    def remove_observer(self, function: Callable[[int], None]) -> None:
        """Remove a function that was passed to one of the above (ours)."""
        for observers in self._observers.values():
            observers[:] = [observer for observer in observers if observer != function]

    def _notify(self, event: str, index: int) -> None:
        for function in self._observers[event]:
            function(index)

    # ---- parameters
    @property
    def learnable_params(self) -> list[Blob]:
        """Each parameter once; of shared ones, the owner's blob."""
        return self._graph.parameters.learnable

    @property
    def params_lr(self) -> list[float]:
        """lr_mult of each of `learnable_params`."""
        return self._graph.parameters.lr_mult

    @property
    def params_weight_decay(self) -> list[float]:
        """decay_mult of each of `learnable_params`."""
        return self._graph.parameters.decay_mult

    @property
    def gradient_layers(self) -> list[list[int]]:
        """For each of `learnable_params`, the indices of the layers whose backward pass adds to its gradient (ours)."""
        return self._graph.gradient_layers()

    def copy_from(self, path) -> LoadReport:
        """Load the weights of a caffemodel, binary or HDF5, into the layers of the same names.

        Returns a report (ours): `unused`, layers of the file that this net lacks, and `unfilled`, layers with
        parameters that the file lacks; both are logged as well.
        """
        return copy_weights(self, path)

    def load_hdf5(self, path) -> None:
        """Load the weights of an HDF5 caffemodel into the layers of the same names."""
        copy_weights_hdf5(self, path)

    def save(self, path, half: bool = False) -> None:
        """Write the net and its weights as a binary caffemodel; the file is replaced atomically.

        half  round the weights to 16-bit floats, which halves the file, as NVIDIA's Caffe and cv2.dnn.shrinkCaffeModel
              do; BVLC's Caffe cannot read such files (ours)

        Raises ValueError for weights that are too large for 16 bits.
        """
        save_net(self, path, half=half)

    def save_trained(self, path) -> None:
        """As `save`, without the layers that never run backward and use weights of a layer that does (ours).

        The readonly head of hard example mining is such a copy; loading the file restores it from the trained head.
        """
        save_net(self, path, skip_layers=copies_of_trained(self._graph.layers))

    def save_hdf5(self, path) -> None:
        """Write the weights as an HDF5 caffemodel; of shared parameters, only the owner's."""
        save_net_hdf5(self, path)

    def share_with(self, other: Net) -> None:
        """Use the parameters of another net's layers of the same names. Raises LayerError if shapes differ."""
        share_by_name(self._graph.layers, other.params)

    # ---- structure
    @property
    def layers(self) -> list:
        """The layers in order; for Python layers the user's objects."""
        return [getattr(layer, "user", layer) for layer in self._graph.layers]

    @property
    def engine_layers(self) -> list[Layer]:
        """The layers in order as the engine sees them (ours)."""
        return self._graph.layers

    @property
    def _layer_names(self) -> list[str]:
        return [layer.name for layer in self._graph.layers]

    @property
    def layer_dict(self) -> OrderedDict:
        """Layer name -> layer."""
        return OrderedDict(zip(self._layer_names, self.layers, strict=True))

    def _names(self, indices: list[list[int]]) -> OrderedDict[str, list[str]]:
        return OrderedDict((layer.name, self._graph.names_of(own))
                           for layer, own in zip(self._graph.layers, indices, strict=True))

    @property
    def bottom_names(self) -> OrderedDict[str, list[str]]:
        """Layer name -> names of its bottoms."""
        return self._names(self._graph.bottoms)

    @property
    def top_names(self) -> OrderedDict[str, list[str]]:
        """Layer name -> names of its tops."""
        return self._names(self._graph.tops)

    @property
    def blob_loss_weights(self) -> OrderedDict[str, float]:
        """Blob name -> its loss weight, 0 for blobs that are not losses."""
        weights = OrderedDict((name, 0.0) for name in self._graph.blob_names)
        weights.update((self._graph.blob_names[index], weight) for index, weight in self._graph.loss_weights())
        return weights


def _as_list(what: str, names: Iterable[str] | None) -> list[str]:
    """The names as a list. Raises TypeError for a single one, and for arrays, which are given by keyword."""
    if isinstance(names, str):
        raise TypeError(f"{what} must be a list of names, got {names!r}")
    found = [] if names is None else list(names)
    if isinstance(names, Mapping) or not all(isinstance(name, str) for name in found):
        raise TypeError(f"{what} must be a list of names, got a {type(names).__name__}; arrays are given by the name "
                        f"of their blob, as in {what.partition(':')[0]}(data=array)")
    return found


def _put(what: str, values: np.ndarray, target: np.ndarray, advice: str = "") -> None:
    """Write values into an array with the same number of items, as pycaffe does. Raises ValueError for other shapes."""
    if np.shape(values)[:1] == target.shape[:1]:
        try:
            target[...] = values
            return
        except ValueError:
            pass        # reported below
    raise ValueError(f"{what} has shape {np.shape(values)}, its blob {target.shape}{advice}")
