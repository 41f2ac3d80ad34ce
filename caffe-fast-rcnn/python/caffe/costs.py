"""Costs of layers and nets: multiply-adds of matrix products, values moved, and memory of blobs."""
from __future__ import annotations

from collections.abc import Sequence

from .engine.blob import Blob
from .engine.layer import Layer

_BY_OUTPUT = ("Convolution", "ConvolutionDepthwise", "DepthwiseConvolution", "InnerProduct")
_BY_STEP = ("LSTM", "Lstm", "RNN")


def multiply_adds(layer: Layer, bottoms: Sequence[Blob], tops: Sequence[Blob]) -> int:
    """Multiply-adds of one forward pass: of convolutions, fully connected and recurrent layers; 0 for others.

    Every output position of a convolution, every row of a fully connected layer, and every input position of a
    deconvolution uses each weight once; a recurrent layer uses them once for each step and sequence.
    """
    if not layer.blobs:
        return 0
    weight = layer.blobs[0]
    if layer.type in _BY_OUTPUT:
        return sum(top.count for top in tops) // weight.shape[_outputs_axis(layer)] * weight.count
    if layer.type == "Deconvolution":
        return sum(bottom.count for bottom in bottoms) // weight.shape[0] * weight.count
    if layer.type in _BY_STEP:
        return tops[0].count // tops[0].shape[-1] * sum(blob.count for blob in layer.blobs if blob.num_axes > 1)
    return 0


def _outputs_axis(layer: Layer) -> int:
    transposed = layer.type == "InnerProduct" and layer.param.inner_product_param.transpose
    return 1 if transposed else 0


def backward_multiply_adds(layer: Layer, bottoms: Sequence[Blob], tops: Sequence[Blob],
                           propagate_down: Sequence[bool]) -> int:
    """Multiply-adds of a backward pass: the forward count for the weights' gradient, unless they are frozen, and again
    for the bottoms' gradients, if any is needed."""
    trained = bool(layer.blobs) and layer.param_propagate_down[0]
    return (trained + any(propagate_down)) * multiply_adds(layer, bottoms, tops)


def values_moved(layer: Layer, bottoms: Sequence[Blob], tops: Sequence[Blob]) -> int:
    """The minimum number of values that a forward pass reads and writes.

    Layers that work in place or only share values (a ReLU after a convolution, Split) count as part of their
    neighbours; data layers and layers without tops do not count.
    """
    made = _values_made(bottoms, tops)
    return made and sum(blob.count for blob in [*bottoms, *layer.blobs]) + made


def backward_values_moved(layer: Layer, bottoms: Sequence[Blob], tops: Sequence[Blob],
                          propagate_down: Sequence[bool]) -> int:
    """The minimum number of values and gradients that a backward pass reads and writes; see `values_moved`."""
    made = _values_made(bottoms, tops)
    trained = [blob for blob, wanted in zip(layer.blobs, layer.param_propagate_down, strict=True) if wanted]
    down = [blob for blob, wanted in zip(bottoms, propagate_down, strict=True) if wanted]
    if not (made and (trained or down)):
        return 0
    for_weights = [*bottoms, *trained] if trained else []
    for_bottoms = [*layer.blobs, *down] if down else []
    return made + sum(blob.count for blob in [*for_weights, *for_bottoms])


def _values_made(bottoms: Sequence[Blob], tops: Sequence[Blob]) -> int:
    """Number of values in tops that share no memory with a bottom; 0 for data layers."""
    if not bottoms:
        return 0
    return sum(top.count for top in tops if not any(top.shares_data_with(bottom) for bottom in bottoms))


def values_kept(blobs: Sequence[Blob]) -> int:
    """Number of values in the blobs; blobs that share an array count once, with its largest size."""
    owners: list[Blob] = []
    for blob in sorted(blobs, key=lambda blob: -blob.count):
        if not any(blob.shares_data_with(owner) for owner in owners):
            owners.append(blob)
    return sum(blob.count for blob in owners)
