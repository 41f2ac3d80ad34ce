"""Split: one blob for several readers."""
from __future__ import annotations

from ..layer import Layer, register


@register("Split")
class Split(Layer):
    """Every top is the bottom; the gradients of the tops are summed, as far as their readers pass one back.

    Nets insert it where a blob has several readers. Tops share the bottom's values, so an in-place layer on one
    of them is seen by all, as in Caffe. Source: src/caffe/layers/split_layer.cpp.
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
