"""Scale: multiply by a learned or computed operand, optionally adding a bias."""
from __future__ import annotations

import torch

from ...proto import caffe_pb2
from ..bases.broadcast import gather_sum, operand_axis, operand_of, operand_shape, spread
from ..blob import Blob
from ..fillers import fill
from ..layer import Layer, register


@register("Scale")
class Scale(Layer):
    """Scale and shift: top = scale * bottom 0 (+ bias), with both broadcast over the bottom from `axis` on

    bottoms  one; or two, the second being the scale
    tops     same shape as bottom 0
    blobs    with one bottom, the scale (1 unless filler is given); its dimensions are the bottom's at
             axis..axis+num_axes-1; with `bias_term: true` a bias of the same shape
    param    scale_param: axis (1), num_axes (1; -1: all remaining axes; 0: a scalar), filler, bias_term (false),
             bias_filler

    The product of top gradient and bottom, whose sum is the scale's gradient, remains in bottom 0's gradient if that
    was not requested and the layer does not run in place. Source: src/caffe/layers/scale_layer.cpp.
    """

    min_bottoms = 1
    max_bottoms = 2
    exact_tops = 1
    runs_in_place = True
    writes_unasked = True
    backward_reads_tops = False

    def setup(self, bottom, top):
        param = self.param.scale_param
        if len(bottom) == 1:
            self.blobs.append(Blob(*operand_shape(self, bottom[0], param.axis, param.num_axes)))
            unit = caffe_pb2.FillerParameter(type="constant", value=1)
            fill(self.blobs[0], param.filler if param.HasField("filler") else unit)
        if param.bias_term:
            self.blobs.append(Blob(*operand_of(self, bottom).shape))
            fill(self.blobs[-1], param.bias_filler)

    def reshape(self, bottom, top):
        scale = operand_of(self, bottom)
        if self.param.scale_param.bias_term and self.blobs[-1].shape != scale.shape:
            self.fail(f"its bias has the shape {self.blobs[-1].shape}, the scale must have it too, found {scale.shape}")
        self.operand_axis = operand_axis(self, bottom[0], scale, self.param.scale_param.axis)
        top[0].reshape(*bottom[0].shape)
        self.is_in_place = top[0] is bottom[0]

    def _spread(self, blob: Blob, num_axes: int) -> torch.Tensor:
        return spread(blob.tensor, self.operand_axis, num_axes)

    def forward(self, bottom, top):
        value = bottom[0].tensor
        scale = self._spread(operand_of(self, bottom), value.dim())
        if self.param.scale_param.bias_term:
            top[0].tensor = torch.addcmul(self._spread(self.blobs[-1], value.dim()), value, scale)
        else:
            top[0].tensor = value * scale

    def backward(self, top, propagate_down, bottom):
        gradient = top[0].grad
        if self.param.scale_param.bias_term and self.param_propagate_down[-1]:
            shape = operand_of(self, bottom).shape
            self.accumulate(len(self.blobs) - 1, gather_sum(gradient, self.operand_axis, shape))
        if propagate_down[1] if len(bottom) > 1 else self.param_propagate_down[0]:
            self._scale_gradient(gradient, propagate_down, bottom)
        if propagate_down[0]:
            bottom[0].grad = gradient * self._spread(operand_of(self, bottom), gradient.dim())

    def _scale_gradient(self, gradient: torch.Tensor, propagate_down, bottom) -> None:
        operand = operand_of(self, bottom)
        product = gradient * bottom[0].tensor
        if not propagate_down[0] and not self.is_in_place and operand.count != bottom[0].count:
            bottom[0].grad = product
        found = gather_sum(product, self.operand_axis, operand.shape)
        if len(bottom) > 1:
            bottom[1].grad = found
        else:
            self.accumulate(0, found)
