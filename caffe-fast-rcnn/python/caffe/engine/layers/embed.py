"""Embed: look up a vector for each index."""
from __future__ import annotations

from ..bases.indices import read_indices
from ..blob import Blob
from ..fillers import fill
from ..layer import Layer, register


@register("Embed")
class Embed(Layer):
    """Embedding lookup: top[..., :] = weight[bottom[...]] + bias

    bottoms  indices in 0..input_dim-1, any shape; without gradient
    tops     the bottom's shape with num_output appended
    blobs    weight (input_dim, num_output); bias (num_output) unless `bias_term: false`
    param    embed_param: num_output, input_dim, bias_term (true)

    An index out of range raises LayerError on the CPU. Source: src/caffe/layers/embed_layer.cpp.
    """

    exact_bottoms = exact_tops = 1
    no_backward_to = (0,)
    backward_reads_tops = False

    def setup(self, bottom, top):
        param = self.param.embed_param
        if min(param.num_output, param.input_dim) < 1:
            self.fail(f"num_output and input_dim must be at least 1, found {param.num_output} and {param.input_dim}")
        self.blobs.append(Blob(param.input_dim, param.num_output))
        fill(self.blobs[0], param.weight_filler)
        if param.bias_term:
            self.blobs.append(Blob(param.num_output))
            fill(self.blobs[1], param.bias_filler)

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape, self.param.embed_param.num_output)

    def forward(self, bottom, top):
        indices = read_indices(self, bottom[0].tensor, self.param.embed_param.input_dim)
        rows = self.blobs[0].tensor[indices]
        top[0].tensor = rows + self.blobs[1].tensor if len(self.blobs) > 1 else rows

    def backward(self, top, propagate_down, bottom):
        rows = top[0].grad.reshape(-1, self.param.embed_param.num_output)
        if self.param_propagate_down[0]:
            total = rows.new_zeros(self.blobs[0].shape)
            self.accumulate(0, total.index_add_(0, bottom[0].tensor.flatten().long(), rows))
        if len(self.blobs) > 1 and self.param_propagate_down[1]:
            self.accumulate(1, rows.sum(0))
