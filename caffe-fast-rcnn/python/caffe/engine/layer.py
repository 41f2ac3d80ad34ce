"""Base classes of layers, their registry, and `caffe.Layer`, from which users' Python layers derive.

Methods are called as in Caffe (include/caffe/layer.hpp): `setup` once, then `reshape`, `forward` and `backward` in
every pass. Built-in layers work on `blob.tensor` and `blob.grad`, Python layers on `blob.data` and `blob.diff`.
"""
from __future__ import annotations

import difflib
import enum
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NoReturn

import torch

from ..errors import CaffeError
from ..proto.forks import fork_of_layer
from ..proto.prototxt import line_of_layer
from . import device
from .blob import Blob


class Phase(enum.IntEnum):
    """The phase of a net; prints as TRAIN or TEST and compares as Caffe's integers."""

    TRAIN = 0
    TEST = 1

    def __str__(self) -> str:
        return self.name


TRAIN, TEST = Phase.TRAIN, Phase.TEST


class BlobVec(list):
    """The parameters of a layer: a list of Blob that users' layers extend with `add_blob`."""

    def add_blob(self, *shape: int) -> None:
        """Append a parameter of zeros."""
        self.append(Blob(*shape))

    def __setitem__(self, index, value):
        """Replace a blob. Raises TypeError for its values, see `NamedBlobs`."""
        if not isinstance(index, slice) and not isinstance(value, Blob):
            raise TypeError(f"a blob cannot become a {type(value).__name__}; its values are written with "
                            f"blobs[{index}].data[...] = values")
        super().__setitem__(index, value)


class NamedBlobs(OrderedDict):
    """The blobs, or lists of blobs, of a net by name.

    Raises TypeError if values are to replace a blob: forgetting `.data[...]` would leave the net as it was.
    """

    def __setitem__(self, name, value):
        if not isinstance(value, (Blob, BlobVec)):
            raise TypeError(f"'{name}' cannot become a {type(value).__name__}; the values of a blob are written with "
                            "blob.data[...] = values")
        super().__setitem__(name, value)


class LayerError(CaffeError, ValueError):
    """A layer cannot use its parameters, bottoms or data. The message names the layer.

    layer  its name; None if the error is about the whole net or the name is unknown
    place  which of the net's layers of this name it is, counted from 0
    file   the prototxt; None if unknown
    line   line of the prototxt where the layer begins; None if unknown
    """

    def __init__(self, message: str, layer: str | None = None, file: str | None = None,
                 line: int | None = None) -> None:
        super().__init__(message)
        self.layer, self.file, self.line = layer, file, line
        self.place = 0

    def located(self, path: str | os.PathLike | None, number: int = 0) -> LayerError:
        """The same error prefixed with the file, and the line if it can be found; with "net" if there is no file.

        number  which of the file's layers of this name it is
        """
        file = os.fspath(path) if path is not None else None
        line = line_of_layer(file, self.layer, number) if file and self.layer is not None else None
        return LayerError(f"{file}:{line}: {self}" if line else f"{file or 'net'}: {self}", self.layer, file, line)


class Layer:
    """One layer of a net.

    param   its LayerParameter; for users' layers also `param_str`
    phase   0 for TRAIN, 1 for TEST
    blobs   its parameters, a list of Blob
    needs_backward  False if the net never runs its backward pass, so nothing must be saved for it
    """

    type = ""
    exact_bottoms: int | None = None
    min_bottoms: int | None = None
    max_bottoms: int | None = None
    exact_tops: int | None = None
    min_tops: int | None = None
    max_tops: int | None = None
    equal_bottoms_and_tops = False
    auto_top_blobs = False              # unnamed tops are created if the prototxt names too few
    default_loss_weight = 0.0           # of top 0; 1 for losses
    no_backward_to: tuple[int, ...] = ()    # bottoms without a gradient, such as labels: requesting it is an error
    not_forced: tuple[int, ...] = ()        # bottoms that the net's force_backward does not affect
    runs_in_place = False               # whether a top may be its bottom
    backward_reads_bottoms = True       # backward reads values of bottoms, which are saved where layers overwrite them
    backward_reads_tops = True          # the same for the tops
    backward_reads_signs = False        # backward uses only whether the values that it reads are above 0
    keeps_signs = False                 # in place, the same values stay above 0, except where it stops the gradient
    reshapes_in_place = False           # in place, it changes the shape of its bottom
    has_effects = False                 # forward does more than write the tops
    other_settings: tuple[str, ...] = ()    # messages that it reads besides its own, such as transform_param
    unread_settings: tuple[str, ...] = ()   # fields of its messages that have no effect, "message.field"
    writes_unasked = False              # backward may write gradients that were not requested, as in Caffe

    def __init__(self, param, phase: int) -> None:
        self.param = param
        self.name: str = param.name
        self.place = 0          # which of the net's layers of this name it is
        self.phase = Phase(phase)
        self.blobs = BlobVec()
        self.param_propagate_down: list[bool] = []
        self.needs_backward = True                  # False if its backward pass never runs
        self.loss_weights: list[float] = []         # one for each top

    # ---- what a layer type defines
    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Check the parameters and create `self.blobs`; called once."""

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Give the tops their shapes; called before every forward."""
        raise NotImplementedError(f"{type(self).__name__} has no reshape")

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Compute the tops from the bottoms."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        """Overwrite the gradients of the bottoms that propagate_down selects; add to the parameters' gradients."""
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    # ---- helpers
    def fail(self, message: str) -> NoReturn:
        """Raise LayerError, prefixed with the layer's name and type."""
        raise LayerError(f"layer '{self.name}' ({self.type}): {message}", self.name)

    def accumulate(self, index: int, gradient: torch.Tensor, is_given: bool = False) -> None:
        """Add to the gradient of parameter `index` unless it is frozen. If `is_given`, the blob may keep the tensor."""
        if not self.param_propagate_down[index]:
            return
        blob = self.blobs[index]
        if blob.has_grad:
            blob.grad_to_update().add_(gradient.reshape(blob.shape))
        else:
            blob.grad = gradient.reshape(blob.shape).to(device.float_type(), copy=not is_given,
                                                        memory_format=torch.contiguous_format)

    def check_counts(self, num_bottoms: int, num_tops: int) -> None:
        """Check the numbers of bottoms and tops. Raises LayerError."""
        for what, found, exact, least, most in (
                ("bottom", num_bottoms, self.exact_bottoms, self.min_bottoms, self.max_bottoms),
                ("top", num_tops, self.exact_tops, self.min_tops, self.max_tops)):
            if exact is not None and found != exact:
                self.fail(f"takes {exact} {what} blob(s), found {found}")
            if least is not None and found < least:
                self.fail(f"takes at least {least} {what} blob(s), found {found}")
            if most is not None and found > most:
                self.fail(f"takes at most {most} {what} blob(s), found {found}")
        if self.equal_bottoms_and_tops and num_bottoms != num_tops:
            self.fail(f"takes as many tops as bottoms, found {num_bottoms} bottoms and {num_tops} tops")

    def axis(self, axis: int, num_axes: int, what: str = "axis") -> int:
        """Convert a possibly negative axis to one counted from 0. Raises LayerError."""
        if not -num_axes <= axis < num_axes:
            self.fail(f"{what} {axis} is outside a blob of {num_axes} axes")
        return axis % num_axes if num_axes else 0


class PythonLayer:
    """Base class of users' Python layers, `caffe.Layer`.

    param_str    the text of `python_param { param_str }`; `param_str_` is the older name
    phase        caffe.TRAIN or caffe.TEST
    blobs        the layer's parameters; `self.blobs.add_blob(3, 4)` in `setup` adds one

    A subclass defines `setup`, `reshape`, `forward` and `backward` over blobs as NumPy arrays. `forward` may reshape
    the tops. A layer without `forward` is rejected when its net is built, one without `backward` when a gradient must
    pass through it; neither has a default, which would hide a misspelt name.

    setup(bottom, top)                      called once, before the first reshape
    reshape(bottom, top)                    called before every forward: give the tops their shapes
    forward(bottom, top)                    write `top[i].data`
    backward(top, propagate_down, bottom)   write `bottom[i].diff` where `propagate_down[i]`
    """

    type = "Python"
    param_str = ""
    param_str_ = ""
    phase = TRAIN
    blobs: BlobVec

    def __init__(self, layer_param=None) -> None:
        """A subclass with an __init__ takes the LayerParameter and passes it on."""

    def setup(self, bottom, top):
        """Called once, before the first reshape."""

    def reshape(self, bottom, top):
        """Called before every forward: give the tops their shapes."""


class AutogradLayer(Layer):
    """A layer defined by one function of tensors; backward runs it again under autograd.

    A subclass writes `compute(*bottoms, *parameters)`, which returns a tensor, or a tuple for several tops, and
    must not change its inputs.
    """

    backward_reads_tops = False

    def compute(self, *tensors: torch.Tensor):
        """The tops as a function of the bottoms and the parameters."""
        raise NotImplementedError(f"{type(self).__name__} has no compute")

    def _outputs(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        result = self.compute(*tensors)
        return result if isinstance(result, tuple) else (result,)

    def forward(self, bottom, top):
        with torch.no_grad():
            outputs = self._outputs([blob.tensor for blob in (*bottom, *self.blobs)])
        for blob, value in zip(top, outputs, strict=True):
            blob.tensor = value

    def backward(self, top, propagate_down, bottom):
        wanted = [*propagate_down, *self.param_propagate_down]
        inputs = [blob.tensor.detach().requires_grad_(want)
                  for blob, want in zip((*bottom, *self.blobs), wanted, strict=True)]
        sources = [tensor for tensor, want in zip(inputs, wanted, strict=True) if want]
        if not sources:
            return
        with torch.enable_grad():
            outputs = self._outputs(inputs)
        pairs = [(value, blob.grad) for value, blob in zip(outputs, top, strict=True) if value.requires_grad]
        found: tuple[torch.Tensor | None, ...] = (None,) * len(sources)
        if pairs:
            values, diffs = zip(*pairs, strict=True)
            found = torch.autograd.grad(values, sources, diffs, allow_unused=True)
        gradients = iter(torch.zeros_like(source) if gradient is None else gradient
                         for source, gradient in zip(sources, found, strict=True))
        for blob, want in zip(bottom, propagate_down, strict=True):
            if want:
                blob.grad = next(gradients)
        for index, want in enumerate(self.param_propagate_down):
            if want:
                self.accumulate(index, next(gradients))


_REGISTRY: dict[str, type[Layer]] = {}


def register(name: str) -> Callable[[type[Layer]], type[Layer]]:
    """Class decorator: registers a layer type under `name`, the `type` in prototxts (ours).

    Public as `caffe.register_layer`; docs/adding_a_layer.md shows an example. A `caffe.Layer` needs no registration:
    prototxts name it in python_param. Raises ValueError if the name is taken and TypeError for a class that does not
    derive from `caffe.EngineLayer` or `caffe.AutogradLayer`.
    """
    def decorate(cls: type[Layer]) -> type[Layer]:
        if not (isinstance(cls, type) and issubclass(cls, Layer)):
            raise TypeError(f"register_layer('{name}'): {getattr(cls, '__name__', cls)!r} must derive from "
                            "caffe.EngineLayer or caffe.AutogradLayer")
        if name in _REGISTRY:
            raise ValueError(f"layer type '{name}' is registered already, by {_REGISTRY[name].__name__}")
        cls.type = name
        _REGISTRY[name] = cls
        return cls
    return decorate


def layer_types() -> list[str]:
    """The names of all layer types, sorted."""
    return sorted(_REGISTRY)


def layer_class(name: str) -> type[Layer]:
    """The class of a layer type. Raises KeyError for an unknown one."""
    return _REGISTRY[name]


def make_layer(param, phase: int) -> Layer:
    """Create the layer that a LayerParameter describes. Raises LayerError for an unknown type."""
    cls = _REGISTRY.get(param.type)
    if cls is None:
        said = f"layer '{param.name}' has the unknown type '{param.type}'"
        fork = fork_of_layer(param.type)
        if fork:
            raise LayerError(f"{said}: it is one of {fork}, which this package does not have", param.name)
        near = difflib.get_close_matches(param.type, _REGISTRY, n=3, cutoff=0.5)
        lower = [name for name in _REGISTRY if name.lower() == param.type.lower()]
        hint = ", ".join(dict.fromkeys(lower + near)) or ", ".join(layer_types())
        raise LayerError(f"{said}; did you mean: {hint}?", param.name)
    return cls(param, phase)
