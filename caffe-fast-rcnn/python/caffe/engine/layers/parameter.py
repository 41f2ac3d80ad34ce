"""Parameter: a learned blob of the net."""
from __future__ import annotations

from ..blob import Blob
from ..layer import Layer, register


@register("Parameter")
class Parameter(Layer):
    """A learned top of shape parameter_param.shape, initially zero.

    Values and gradient are shared: the layer that reads the top overwrites the parameter's gradient, which
    therefore does not accumulate over backward passes. Without a loss after it, the parameter has no gradient.
    Source: include/caffe/layers/parameter_layer.hpp.
    """

    exact_bottoms = 0
    exact_tops = 1
    backward_reads_bottoms = backward_reads_tops = False

    def setup(self, bottom, top):
        self.blobs.append(Blob(*self.param.parameter_param.shape.dim))
        self.unused = Blob(*self.blobs[0].shape)

    def reshape(self, bottom, top):
        top[0].reshape(*self.blobs[0].shape)
        top[0].share_data(self.blobs[0])
        top[0].share_diff(self.blobs[0] if self.needs_backward else self.unused)

    def forward(self, bottom, top):
        """Nothing to do: the values are shared."""

    def backward(self, top, propagate_down, bottom):
        """Nothing to do: the gradient is shared."""
