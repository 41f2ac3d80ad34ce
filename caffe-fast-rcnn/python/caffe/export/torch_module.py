"""A net as a torch.nn.Module.

The module runs the forward pass of the engine's layers on tensors that record the autograd graph, so that its values
are the net's and gradients come from autograd.
"""
from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import nn

from ..engine import device
from ..engine.bases.caffe_lstm import LstmLayer
from ..engine.bases.losses import LossLayer
from ..engine.bases.recurrent import RecurrentLayer
from ..engine.blob import Blob
from ..engine.layer import TEST, TRAIN, AutogradLayer, BlobVec, Layer
from .shared_memory import changed_by_layers
from .unsupported import name_of, reason_against, refuse

_BLOB_NAMES = {"BatchNorm": ("mean", "variance", "count", "weight", "bias"),
               "BN": ("weight", "bias", "mean", "variance"), "Bias": ("bias",),
               "LSTM": ("weight", "bias", "weight_hidden"), "Lstm": ("weight", "weight_hidden", "bias"),
               "PReLU": ("weight",),
               "RNN": ("weight", "bias", "weight_hidden", "weight_output", "bias_output")}
_STATISTICS = ("mean", "variance", "count")     # buffers of the module, because they are not learned


class _Value(Blob):
    """A blob that holds a tensor with its autograd graph, device and type."""

    def __init__(self, value: torch.Tensor | None = None) -> None:
        super().__init__(*(() if value is None else value.shape))
        self._value = value
        self._gradient: torch.Tensor | None = None
        self.written = False

    @property
    def tensor(self) -> torch.Tensor:
        if self._value is None:
            raise RuntimeError("a blob was read before it was written")
        return self._value if self._value.shape == self.shape else self._value.reshape(self.shape)

    @tensor.setter
    def tensor(self, value: torch.Tensor) -> None:
        self._value, self.written = value, True

    # The module's type and autocast decide the precision
    @property
    def stored(self) -> torch.Tensor:
        return self.tensor

    def factor(self, layout: torch.memory_format = torch.contiguous_format) -> torch.Tensor:
        return self.tensor.contiguous(memory_format=layout)

    @property
    def has_grad(self) -> bool:
        return self._gradient is not None

    @property
    def stored_grad(self):
        return self._gradient

    @property
    def grad(self):
        return self._gradient

    @grad.setter
    def grad(self, value: torch.Tensor) -> None:
        self._gradient = value

    def share_data(self, other: Blob) -> None:
        self._value = other.tensor

    def share_diff(self, other: Blob) -> None:
        """Nothing to do: autograd shares gradients."""


class _KernelFunction(torch.autograd.Function):
    """A layer without parameters that has its own backward pass."""

    @staticmethod
    def forward(ctx, layer: Layer, num_tops: int, *tensors: torch.Tensor):
        ctx.layer, ctx.bottom = layer, [_Value(tensor) for tensor in tensors]
        top = [_Value() for _ in range(num_tops)]
        layer.reshape(ctx.bottom, top)
        layer.forward(ctx.bottom, top)
        return tuple(value.tensor for value in top)

    @staticmethod
    def backward(ctx, *gradients: torch.Tensor):
        top = [_Value(gradient) for gradient in gradients]
        for value, gradient in zip(top, gradients, strict=True):
            value.grad = gradient
        wanted = list(ctx.needs_input_grad[2:])
        ctx.layer.backward(top, wanted, ctx.bottom)
        return (None, None, *(value.grad if want else None for value, want in zip(ctx.bottom, wanted, strict=True)))


class TorchLayer(nn.Module):
    """One engine layer: takes its bottoms' tensors and returns a tuple of its tops' tensors.

    Its parameters are `weight` and `bias`, or have names specific to the type; statistics are buffers.
    """

    def __init__(self, layer: Layer, tensors: list[torch.Tensor]) -> None:
        super().__init__()
        self.layer = copy.copy(layer)
        self.layer.blobs = BlobVec()
        self.shapes = [blob.shape for blob in layer.blobs]
        self.blob_names = _blob_names(layer)
        self.num_tops = len(layer.loss_weights)
        for name, tensor in zip(self.blob_names, tensors, strict=True):
            if name in _STATISTICS:
                self.register_buffer(name, tensor.detach())
            else:
                self.register_parameter(name, nn.Parameter(tensor) if not isinstance(tensor, nn.Parameter) else tensor)

    def extra_repr(self) -> str:
        shapes = ", ".join(f"{name} {shape}" for name, shape in zip(self.blob_names, self.shapes, strict=True))
        return f"{self.layer.type}{': ' if shapes else ''}{shapes}"

    def _layer(self) -> Layer:
        """A copy of the layer for a single pass, so that no state outlives it."""
        layer = copy.copy(self.layer)
        layer.needs_backward = True     # whatever the net needs: keep what the gradient requires
        stored = [getattr(self, name) for name in self.blob_names]
        layer.blobs = BlobVec(_Value(tensor.reshape(shape)) for tensor, shape in zip(stored, self.shapes, strict=True))
        _set_phase(layer, self.training)
        if isinstance(layer, (LstmLayer, RecurrentLayer)):
            layer.last = None       # every pass starts from zero states
        if isinstance(layer, AutogradLayer) and torch.is_grad_enabled():
            layer.compute = torch.enable_grad()(layer.compute)      # type: ignore[method-assign]
        return layer

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        layer = self._layer()
        if _has_own_gradient(layer):
            return _KernelFunction.apply(layer, self.num_tops, *tensors)
        bottom, top = [_Value(tensor) for tensor in tensors], [_Value() for _ in range(self.num_tops)]
        layer.reshape(bottom, top)
        with device.keep_types():
            layer.forward(bottom, top)
        for name, blob in zip(self.blob_names, layer.blobs, strict=True):
            if name in _STATISTICS and blob.written:
                getattr(self, name).copy_(blob.tensor.detach().reshape(getattr(self, name).shape))
        return tuple(value.tensor for value in top)


def _has_own_gradient(layer: Layer) -> bool:
    """Whether the gradient differs from autograd's: kernels are not torch operations, and losses clip.

    torch.jit.trace cannot record custom gradients, so that traced losses have autograd's.
    """
    if layer.type in ("ROIPooling", "SmoothL1Loss", "SmoothL1LossOHEM"):
        return True
    return isinstance(layer, LossLayer) and not torch.jit.is_tracing()


class TorchConstants(nn.Module):
    """The tops of a layer with constant values; not part of the state dict."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        values = layer.fresh_values()
        self.names = [f"top{index}" for index in range(len(values))]
        for name, tensor in zip(self.names, values, strict=True):
            self.register_buffer(name, tensor, persistent=False)

    def forward(self) -> tuple[torch.Tensor, ...]:
        return tuple(getattr(self, name) for name in self.names)


class TorchDropout(nn.Module):
    """Dropout with PyTorch's random numbers."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.ratio, self.scale_train = layer.param.dropout_param.dropout_ratio, layer.param.dropout_param.scale_train

    def forward(self, value: torch.Tensor) -> tuple[torch.Tensor]:
        value = nn.functional.dropout(value, self.ratio, self.training)
        return (value if self.scale_train else value * (1 - self.ratio),)


def _blob_names(layer: Layer) -> list[str]:
    count, names = len(layer.blobs), _BLOB_NAMES.get(layer.type, ("weight", "bias"))
    if layer.type in ("LSTM", "RNN") and count > len(names):
        names = (*names[:2], "weight_static", *names[2:])
    return [names[index] if index < len(names) else f"blob{index}" for index in range(count)]


def _set_phase(layer: Layer, training: bool) -> None:
    """Let `train()` and `eval()` choose between batch and stored statistics, as the phase does."""
    layer.phase = TRAIN if training else TEST
    if layer.type == "BatchNorm" and not layer.param.batch_norm_param.HasField("use_global_stats"):
        layer.stored = not training     # type: ignore[attr-defined]
    if layer.type == "BN" and layer.source != "none" and not layer.is_segnet:      # type: ignore[attr-defined]
        is_batch = training and not layer.param.bn_param.frozen
        layer.source = "batch" if is_batch else "stored"        # type: ignore[attr-defined]


class _Step(NamedTuple):
    """A layer of a module: places are indices of values.

    name     of the child module
    changed  pairs of `changed_by_layers`
    stopped  positions of the bottoms to which the prototxt stops the gradient, `propagate_down: false`
    """

    name: str
    bottoms: list[int]
    tops: list[int]
    changed: list[tuple[int, int]]
    stopped: list[int]


class TorchNet(nn.Module):
    """A net as a module; see `to_torch`.

    inputs   names of the blobs that `forward` takes, in order
    outputs  names of the blobs that `forward` returns, in order
    """

    def __init__(self, net) -> None:
        super().__init__()
        refuse("a torch module", {name_of(layer): reason for layer in net.engine_layers
                                  if (reason := reason_against(layer))})
        self.inputs, self.outputs = list(net.inputs), list(net.outputs)
        self._input_places, self._output_places = list(net._inputs), list(net._outputs)
        self._steps: list[_Step] = []
        known: dict[int, torch.Tensor] = {}
        changed = changed_by_layers(net)
        for index, layer in enumerate(net.engine_layers):
            if layer.type not in ("Input", "HDF5Output"):
                name = self._free_name(layer.name)
                self.add_module(name, _module_of(layer, known))
                stopped = [position for position, down in enumerate(layer.param.propagate_down) if not down]
                self._steps.append(_Step(name, list(net._bottom_ids(index)), list(net._top_ids(index)), changed[index],
                                         stopped))
        self.train(net.phase == TRAIN)

    def _free_name(self, layer_name: str) -> str:
        name = layer_name.replace(".", "_") or "layer"
        while hasattr(self, name):
            name += "_"
        return name

    def forward(self, *inputs: torch.Tensor):
        """The net's outputs for its inputs: a tensor, or a tuple of several."""
        if len(inputs) != len(self.inputs):
            raise ValueError(f"this net takes {len(self.inputs)} inputs ({', '.join(self.inputs)}), got {len(inputs)}")
        values: dict[int, torch.Tensor] = dict(zip(self._input_places, inputs, strict=True))
        for step in self._steps:
            taken = [values[place] for place in step.bottoms]
            for position in step.stopped:
                taken[position] = taken[position].detach()
            values.update(zip(step.tops, getattr(self, step.name)(*taken), strict=True))
            for place, top in step.changed:
                values[place] = values[top].reshape(values[place].shape)
        outputs = tuple(values[place] for place in self._output_places)
        return outputs[0] if len(outputs) == 1 else outputs


def _module_of(layer: Layer, known: dict[int, torch.Tensor]) -> nn.Module:
    if layer.type == "Dropout":
        return TorchDropout(layer)
    if layer.type in ("ContinuationIndicator", "DummyData"):
        return TorchConstants(layer)
    return TorchLayer(layer, [_tensor_of(blob, known) for blob in layer.blobs])


def _tensor_of(blob: Blob, known: dict[int, torch.Tensor]) -> torch.Tensor:
    """A copy of the blob's values; blobs that share values get the same Parameter."""
    key = id(blob._data)
    if key not in known:
        known[key] = nn.Parameter(blob.tensor.detach().clone(memory_format=torch.contiguous_format))
    return known[key]


def to_torch(net) -> TorchNet:
    """A torch.nn.Module that computes what the net computes, with a copy of its weights.

    `forward` takes the inputs in the order of net.inputs and returns the outputs in the order of net.outputs: a tensor,
    or a tuple of several. It is differentiable by autograd, can be traced and exported, moves with `.to(device)`, and
    takes other batch and image sizes where the layers do. `state_dict` names weights by layer: `conv1.weight`,
    `conv1.bias` (a dot in a layer's name becomes `_`). The module starts in the net's phase; `train()` and `eval()`
    switch Dropout and BatchNorm. Recurrent layers start every pass from zero states. DummyData gives its fillers'
    values; HDF5Output is omitted. The gradients of losses are Caffe's where autograd's differ.

    Raises ExportError for Python layers, layers that read data and DummyData with random values; the message names all
    of them.
    """
    return TorchNet(net)
