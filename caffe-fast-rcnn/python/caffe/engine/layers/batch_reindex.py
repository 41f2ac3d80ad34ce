"""BatchReindex: select, repeat or reorder the items of a batch."""
from __future__ import annotations

from ..bases.indices import read_indices
from ..layer import Layer, register


@register("BatchReindex")
class BatchReindex(Layer):
    """Select, repeat or reorder the items of a batch: top[i] = bottom0[bottom1[i]]

    bottoms  (N, ...); indices (M,) in 0..N-1, without gradient
    tops     (M, ...)

    Source: src/caffe/layers/batch_reindex_layer.cpp.
    """

    exact_bottoms = 2
    exact_tops = 1
    no_backward_to = (1,)
    backward_reads_tops = False

    def reshape(self, bottom, top):
        if len(bottom[1].shape) != 1:
            self.fail(f"expected indices of one axis, found shape {bottom[1].shape}")
        if not bottom[0].shape:
            self.fail("needs a bottom of at least one axis, found a scalar")
        top[0].reshape(*bottom[1].shape, *bottom[0].shape[1:])

    def forward(self, bottom, top):
        top[0].tensor = bottom[0].tensor[read_indices(self, bottom[1].tensor, bottom[0].shape[0])]

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            total = top[0].grad.new_zeros(bottom[0].shape)
            bottom[0].grad = total.index_add_(0, bottom[1].tensor.long(), top[0].grad)
