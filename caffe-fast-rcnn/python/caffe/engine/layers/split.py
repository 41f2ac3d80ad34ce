"""Split: one blob for several consumers."""
from __future__ import annotations

from ..layer import Layer, register


@register("Split")
class Split(Layer):
    """Every top is the bottom; the bottom's gradient is the sum of the tops' gradients, as far as they have any.

    Nets insert this layer where a blob has several consumers. The tops share the bottom's values, so all of them see
    the effect of an in-place layer on one, as in Caffe. Source: src/caffe/layers/split_layer.cpp.
    """

    exact_bottoms = 1
    min_tops = 1
    backward_reads_bottoms = backward_reads_tops = False

    def reshape(self, bottom, top):
        for blob in top:
            blob.reshape(*bottom[0].shape)
            blob.share_data(bottom[0])

    def forward(self, bottom, top):
        """Nothing to do: the values are shared."""

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        written = [blob.grad for blob in top if blob.has_grad]      # the others are zero
        total = written[0] if written else bottom[0].tensor.new_zeros(bottom[0].shape)
        for gradient in written[1:]:
            total = total + gradient
        bottom[0].grad = total
