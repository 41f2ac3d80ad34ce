"""Concat."""
from __future__ import annotations

import torch

from ..layer import Layer, register


@register("Concat")
class Concat(Layer):
    """The bottoms concatenated along concat_param.axis (1).

    bottoms  one or more, with equal shapes except along that axis
    tops     one; with a single bottom it shares the bottom's values and gradient

    `concat_dim` is the old name of axis. Source: src/caffe/layers/concat_layer.cpp.
    """

    min_bottoms = 1
    exact_tops = 1
    backward_reads_bottoms = backward_reads_tops = False

    def setup(self, bottom, top):
        param = self.param.concat_param
        if param.HasField("axis") and param.HasField("concat_dim"):
            self.fail("give either axis or its old name concat_dim, not both")

    def reshape(self, bottom, top):
        param = self.param.concat_param
        first = bottom[0].shape
        axis = self.concat_axis = self.axis(param.concat_dim if param.HasField("concat_dim") else param.axis,
                                            len(first))
        for blob in bottom[1:]:
            if (len(blob.shape) != len(first) or blob.shape[:axis] != first[:axis]
                    or blob.shape[axis + 1:] != first[axis + 1:]):
                self.fail(f"all bottoms must agree except along axis {axis}, found {first} and {blob.shape}")
        top[0].reshape(*first[:axis], sum(blob.shape[axis] for blob in bottom), *first[axis + 1:])
        if len(bottom) == 1:
            top[0].share_data(bottom[0])
            top[0].share_diff(bottom[0])

    def forward(self, bottom, top):
        if len(bottom) > 1:
            top[0].tensor = torch.cat([blob.tensor for blob in bottom], self.concat_axis)

    def backward(self, top, propagate_down, bottom):
        if len(bottom) == 1:
            return
        parts = top[0].grad.split([blob.shape[self.concat_axis] for blob in bottom], self.concat_axis)
        for blob, wanted, part in zip(bottom, propagate_down, parts, strict=True):
            if wanted:
                blob.grad = part
