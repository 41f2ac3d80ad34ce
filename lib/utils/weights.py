"""Loads a caffemodel into a net, matching layers by name, and reports unmatched ones."""
from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from caffe.proto.caffe_pb2 import FillerParameter, LayerParameter
from utils import prototxt
from utils.errors import CheckError, NotFiniteError, raise_all
from utils.names import BOX_LAYERS, READONLY
from utils.other_caffe import Net, all_finite, blob_shape, copy_weights, copy_weights_without, fits, stored_shapes
from utils.text import listing

CLASS_LAYERS = ("cls_score", "rfcn_cls", *BOX_LAYERS)      # layers whose number of outputs depends on the classes
_NAMED = 12         # maximum number of layers named in a message; the rest is counted
# Layer types that start from random weights, and the message with their filler
_WITH_FILLER = {"Convolution": "convolution_param", "Deconvolution": "convolution_param",
                "ConvolutionDepthwise": "convolution_param", "DepthwiseConvolution": "convolution_param",
                "InnerProduct": "inner_product_param", "Embed": "embed_param", "LSTM": "recurrent_param",
                "RNN": "recurrent_param"}


class InitialWeights(NamedTuple):
    """Result of `load_initial_weights`."""

    summary: str            # a line that names the layers with random weights
    unfilled: list[str]     # these layers, readonly ones included


def load_initial_weights(net: Net, path: str | os.PathLike, name: str | os.PathLike,
                         skip_unfitting: bool = False) -> InitialWeights:
    """Load the initial weights of a training.

    Readonly layers are not counted: they share the weights of others. Layers of the file whose shapes differ are
    skipped if they depend on the number of classes, or all of them with `skip_unfitting`.

    name  of the net in messages, such as its file
    Raises CheckError if the file has no layer of the net, or shapes of other layers differ, and NotFiniteError for
    weights that are NaN or infinite.
    """
    unfitting = {layer: words for layer, words in _unfitting_layers(net, path).items()
                 if skip_unfitting or layer.removesuffix(READONLY) in CLASS_LAYERS}
    try:
        report = copy_weights_without(net, path, unfitting) if unfitting else copy_weights(net, path)
    except ValueError as error:
        if skip_unfitting or not _unfitting_layers(net, path):
            raise
        raise CheckError(f"{error}; or give --skip_unfitting, which leaves out layers of other shapes") from None
    check_finite(net, path)
    learned = [layer for layer, blobs in net.params.items() if len(blobs) and not layer.endswith(READONLY)]
    unfilled = [layer for layer in report.unfilled if layer in learned]
    if len(unfilled) == len(learned):
        raise CheckError(f"{path}: not one of its layers ({_listing(report.unused)}) is in {name}, which has "
                         f"{_listing(learned)}; weights are matched by layer name")
    parts = [f"{len(learned) - len(unfilled)} of {len(learned)} layers are initialised from {path}"]
    if unfilled:
        parts.append(f"random: {_listing(unfilled)}")
    if unfitting:
        parts.append(f"skipped, as shapes differ: {'; '.join([*unfitting.values()][:_NAMED])}")
    if report.unused:
        parts.append(f"not in this net: {_listing(report.unused)}")
    return InitialWeights("; ".join(parts), report.unfilled)


def _unfitting_layers(net: Net, path: str | os.PathLike) -> dict[str, str]:
    """The layers of the net whose weights in the file have other shapes: name -> both shapes in words."""
    found = {}
    for layer, stored in stored_shapes(path).items():
        shapes = [blob_shape(blob) for blob in net.params[layer]] if layer in net.params else []
        if shapes and (len(stored) != len(shapes) or not all(map(fits, stored, shapes))):
            found[layer] = f"{layer} has {_shapes_in_words(stored)} there, {_shapes_in_words(shapes)} here"
    return found


def _shapes_in_words(shapes: Sequence[Sequence[int]]) -> str:
    return " and ".join(" x ".join(map(str, shape)) for shape in shapes)


def check_varied(net: Net, path: str | os.PathLike) -> None:
    """Raise CheckError that names the learned layers whose weights are all equal, as these would not learn.

    Equal weights give equal outputs and so equal gradients; weights of 0 before a ReLU get no gradient. Weights that
    the prototxt itself sets to 0 are allowed where no ReLU follows, as in layers that initially predict nothing.

    path  the net's prototxt
    """
    layers = prototxt.read_net(path).layer
    before_relu = {blob for layer in layers if layer.type == "ReLU" for blob in layer.bottom}
    raise_all([f"{path}:{prototxt.line_of_layer(path, layer.name)}: layer '{layer.name}': {_equal_text(net, layer)}"
               for layer in layers if _is_learned(layer) and _is_equal(net, layer.name)
               and not (_begins_at_zero(layer) and before_relu.isdisjoint(layer.top))],
              hint="Layers with equal weights do not learn: add weight_filler { type: \"msra\" }, or start from a file "
                   "that has their weights (--weights)")


def _is_learned(layer: LayerParameter) -> bool:
    return (layer.type in _WITH_FILLER and not layer.name.endswith(READONLY)
            and (not layer.param or layer.param[0].lr_mult != 0))


def _is_equal(net: Net, layer: str) -> bool:
    """Whether a layer of the net has several weights, all equal."""
    blobs = net.params.get(layer)
    if not blobs:
        return False
    weights = blobs[0].data
    return weights.size > 1 and bool((weights == weights.flat[0]).all())


def _equal_text(net: Net, layer: LayerParameter) -> str:
    reason = "" if _filler(layer) else ", as it has no weight_filler and no weights were loaded"
    return f"all its weights are {net.params[layer.name][0].data.flat[0]:g}{reason}"


def _begins_at_zero(layer: LayerParameter) -> bool:
    filler = _filler(layer)
    return filler is not None and filler.HasField("type") and filler.type == "constant" and filler.value == 0


def _filler(layer: LayerParameter) -> FillerParameter | None:
    """The `weight_filler` in the layer's own message; None if it has none."""
    param = getattr(layer, _WITH_FILLER[layer.type])
    return param.weight_filler if param.HasField("weight_filler") else None


def load_all_weights(net: Net, path: str | os.PathLike, name: str | os.PathLike) -> None:
    """Load the weights of a net for inference.

    Raises CheckError if a layer of the net is not in the file, NotFiniteError for weights that are NaN or infinite.
    """
    report = copy_weights(net, path)
    check_finite(net, path)
    if report.unfilled:
        raise CheckError(f"{path}: has no weights for {_listing(report.unfilled)} of {name}; "
                         f"it has others: {_listing(report.unused)}; weights are matched by layer name")


def check_finite(net: Net, path: str | os.PathLike) -> None:
    """Raise NotFiniteError that names the layers whose weights, loaded from `path`, are NaN or infinite."""
    bad = layers_not_finite(net)
    if bad:
        raise NotFiniteError(f"{path}: the weights of {_listing(bad)} are NaN or infinite: the training that wrote it "
                             "has diverged; use an earlier snapshot, or train again with a lower base_lr")


def layers_not_finite(net: Net) -> list[str]:
    """Layers with NaN or infinite weights; if there are none, this synchronises with a GPU only once."""
    if all_finite(blob for blobs in net.params.values() for blob in blobs):
        return []
    return [name for name, blobs in net.params.items() if not all_finite(blobs)]


def weights_problem(net: Net) -> str:
    """The layers with NaN or infinite weights, in words for a message; '' if there are none."""
    layers = layers_not_finite(net)
    return f"the weights of {_listing(layers)} are not finite" if layers else ""


def _listing(names: Sequence[str]) -> str:
    return listing(names, _NAMED) or "none"
