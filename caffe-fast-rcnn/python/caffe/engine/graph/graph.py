"""The graph of a net: its layers and the blobs between them."""
from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from ..blob import Blob
from ..layer import Layer
from .backward_plan import LayerPlan
from .sharing import ParameterTable


@dataclass
class Graph:
    """Layers in execution order, connected by blobs, which are identified by index.

    layers        the layers
    bottoms, tops for each layer the indices of its blobs
    plans         for each layer how it takes part in the backward pass
    blobs         the blobs, in the order of creation
    blob_names    the name of each blob
    index_of      name -> index; without automatically created tops, which all have the same name
    inputs        the tops of Input layers
    outputs       the blobs that no layer reads, sorted by name
    preset        the blobs with values when the net is built, such as constants, which no pass may write again
    parameters    the parameters of the layers
    """

    layers: list[Layer] = field(default_factory=list)
    bottoms: list[list[int]] = field(default_factory=list)
    tops: list[list[int]] = field(default_factory=list)
    plans: list[LayerPlan] = field(default_factory=list)
    blobs: list[Blob] = field(default_factory=list)
    blob_names: list[str] = field(default_factory=list)
    index_of: dict[str, int] = field(default_factory=dict)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    preset: list[int] = field(default_factory=list)
    parameters: ParameterTable = field(default_factory=ParameterTable)

    def blobs_of(self, indices: Sequence[int]) -> list[Blob]:
        """The blobs with these indices."""
        return [self.blobs[index] for index in indices]

    def names_of(self, indices: Sequence[int]) -> list[str]:
        """The names of the blobs with these indices."""
        return [self.blob_names[index] for index in indices]

    def named(self, indices: Sequence[int]) -> list[tuple[str, Blob]]:
        """(name, blob) for these indices."""
        return [(self.blob_names[index], self.blobs[index]) for index in indices]

    @functools.cached_property
    def ends(self) -> list[tuple[list[Blob], list[Blob]]]:
        """Bottoms and tops of each layer, cached for passes. Only for a complete graph."""
        return [(self.blobs_of(bottoms), self.blobs_of(tops))
                for bottoms, tops in zip(self.bottoms, self.tops, strict=True)]

    def connected(self) -> Iterator[tuple[Layer, list[Blob], list[Blob]]]:
        """Each layer with its bottoms and tops."""
        for layer, (bottoms, tops) in zip(self.layers, self.ends, strict=True):
            yield layer, bottoms, tops

    def loss_weights(self) -> Iterator[tuple[int, float]]:
        """The index of each top with its loss weight, which is 0 for those that are not losses."""
        for layer, tops in zip(self.layers, self.tops, strict=True):
            yield from zip(tops, layer.loss_weights, strict=True)

    def losses_of(self, place: int) -> list[torch.Tensor]:
        """The weighted sums of the losses among a layer's tops, 0-d tensors on the device."""
        return [blob.tensor.sum() * weight
                for blob, weight in zip(self.ends[place][1], self.layers[place].loss_weights, strict=True) if weight]

    def gradient_layers(self) -> list[list[int]]:
        """For each learnable parameter the layers, by index, whose backward pass adds to its gradient."""
        found: list[list[int]] = [[] for _ in self.parameters.learnable]
        positions = iter(self.parameters.learnable_index)
        for index, (layer, plan) in enumerate(zip(self.layers, self.plans, strict=True)):
            for wanted in layer.param_propagate_down:
                position = next(positions)
                if wanted and plan.needs_backward:
                    found[position].append(index)
        return found


def seed_loss_gradients(layer: Layer, tops: Sequence[Blob], is_overwritten: bool = False) -> None:
    """The gradient of a loss with respect to itself is its weight; must be set again when the top is reshaped.

    is_overwritten  whether it must be set in every pass, since an in-place layer overwrites it in the backward pass
    """
    for blob, weight in zip(tops, layer.loss_weights, strict=True):
        if weight and (is_overwritten or not blob.has_grad):
            blob.grad = torch.full_like(blob.grad, weight)
