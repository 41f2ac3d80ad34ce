"""What a layer costs: multiply-adds of its matrix products, and memory of a net's blobs."""
from __future__ import annotations

import math
from collections.abc import Sequence

from ..engine.blob import Blob
from ..engine.layer import Layer

_BY_OUTPUT = ("Convolution", "ConvolutionDepthwise", "DepthwiseConvolution", "InnerProduct")
_BY_STEP = ("LSTM", "RNN")


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
        return math.prod(bottoms[0].shape[:2]) * sum(blob.count for blob in layer.blobs if blob.num_axes > 1)
    return 0


def _outputs_axis(layer: Layer) -> int:
    transposed = layer.type == "InnerProduct" and layer.param.inner_product_param.transpose
    return 1 if transposed else 0


def values_kept(blobs: Sequence[Blob]) -> int:
    """Number of values that the blobs hold; those that share one array count once, with its largest size."""
    owners: list[Blob] = []
    for blob in sorted(blobs, key=lambda blob: -blob.count):
        if not any(blob.shares_data_with(owner) for owner in owners):
            owners.append(blob)
    return sum(blob.count for blob in owners)
