"""Tile: repeat a blob along an axis."""
from __future__ import annotations

import torch

from ..layer import Layer, register


@register("Tile")
class Tile(Layer):
    """The bottom repeated tile_param.tiles times along tile_param.axis (1).

    Source: src/caffe/layers/tile_layer.cpp.
    """

    exact_bottoms = exact_tops = 1
    backward_reads_bottoms = backward_reads_tops = False

    def reshape(self, bottom, top):
        param, shape = self.param.tile_param, bottom[0].shape
        self.along = self.axis(param.axis, len(shape))
        if param.tiles < 1:
            self.fail(f"tiles must be given and at least 1, found {param.tiles}")
        top[0].reshape(*shape[:self.along], shape[self.along] * param.tiles, *shape[self.along + 1:])

    def forward(self, bottom, top):
        top[0].tensor = torch.cat([bottom[0].tensor] * self.param.tile_param.tiles, self.along)

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            parts = top[0].grad.unflatten(self.along, (self.param.tile_param.tiles, -1))
            bottom[0].grad = parts.sum(self.along)
