"""DummyData: blobs filled by fillers."""
from __future__ import annotations

import torch

from ...proto import caffe_pb2
from ..blob import Blob
from ..fillers import check_filler, fill
from ..layer import Layer, register


@register("DummyData")
class DummyData(Layer):
    """Tops filled by dummy_data_param.data_filler: constants once, all others again in every forward pass.

    data_filler: one for all tops, one for each, or none (zeros). The shapes come from `shape`, or from the older
    num, channels, height and width; each is given once, or once for each top.
    Source: src/caffe/layers/dummy_data_layer.cpp.
    """

    exact_bottoms = 0
    min_tops = 1

    def setup(self, bottom, top):
        param = self.param.dummy_data_param
        fillers = list(param.data_filler) or [caffe_pb2.FillerParameter(type="constant", value=0)]
        self.fillers = self._one_each(fillers, len(top), "data_filler")
        for blob, shape in zip(top, self._shapes(len(top)), strict=True):
            blob.reshape(*shape)
        for blob, filler in zip(top, self.fillers, strict=True):
            check_filler(filler, blob.shape)
            if filler.type == "constant":
                fill(blob, filler)

    @property
    def is_random(self) -> bool:
        """Whether the values change between forward passes."""
        return any(filler.type not in ("constant", "bilinear") for filler in self.fillers)

    def fresh_values(self) -> list[torch.Tensor]:
        """New values from the fillers, one tensor for each top."""
        blobs = [Blob(*shape) for shape in self._shapes(len(self.fillers))]
        for blob, filler in zip(blobs, self.fillers, strict=True):
            fill(blob, filler)
        return [blob.tensor for blob in blobs]

    def _one_each(self, values, num_tops: int, name: str) -> list:
        values = list(values)
        if len(values) not in (1, num_tops):
            self.fail(f"{name}: expected one, or one for each of {num_tops} tops, found {len(values)}")
        return values * num_tops if len(values) == 1 else values

    def _shapes(self, num_tops: int) -> list:
        param = self.param.dummy_data_param
        names = ("num", "channels", "height", "width")
        if not param.shape:
            return list(zip(*(self._one_each(getattr(param, name), num_tops, name) for name in names), strict=True))
        if any(getattr(param, name) for name in names):
            self.fail("give either shape, or num, channels, height and width")
        return [shape.dim for shape in self._one_each(param.shape, num_tops, "shape")]

    def reshape(self, bottom, top):
        """The shapes are set in setup."""

    def forward(self, bottom, top):
        for blob, filler in zip(top, self.fillers, strict=True):
            if filler.type != "constant":
                fill(blob, filler)

    def backward(self, top, propagate_down, bottom):
        """No bottoms."""
