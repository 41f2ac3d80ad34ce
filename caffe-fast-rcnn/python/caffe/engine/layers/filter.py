"""Filter: select items of a batch by a mask."""
from __future__ import annotations

import torch

from ..layer import Layer, register


@register("Filter")
class Filter(Layer):
    """The items whose selector value is not 0, in order.

    bottoms  one or more (N, ...), and last the selector, (N,) or (N, 1, ...), without gradient
    tops     one per bottom except the selector: (number of selected items, ...); (N, ...) until the first forward pass

    Source: src/caffe/layers/filter_layer.cpp.
    """

    min_bottoms = 2
    min_tops = 1
    backward_reads_bottoms = backward_reads_tops = False

    def setup(self, bottom, top):
        if len(top) != len(bottom) - 1:
            self.fail(f"{len(bottom)} bottoms need {len(bottom) - 1} tops, found {len(top)}")
        self.selected: torch.Tensor | None = None
        self.is_set_up = False

    def reshape(self, bottom, top):
        selector = bottom[-1]
        if not selector.shape or selector.count != selector.shape[0]:
            self.fail(f"expected a selector of shape (N,) or (N, 1, ...), found {selector.shape}")
        for blob in bottom[:-1]:
            if blob.shape[:1] != selector.shape[:1]:
                self.fail(f"a bottom of shape {blob.shape} does not fit a selector of shape {selector.shape}")
        count = selector.shape[0]
        if self.is_set_up:
            self.selected = selector.tensor.flatten().nonzero().flatten()
            count = len(self.selected)
        self.is_set_up = True
        for source, target in zip(bottom, top, strict=False):
            target.reshape(count, *source.shape[1:])

    def forward(self, bottom, top):
        for source, target in zip(bottom, top, strict=False):
            target.tensor = source.tensor[self.selected]

    def backward(self, top, propagate_down, bottom):
        if propagate_down[-1]:
            self.fail("has no gradient for its selector; set propagate_down: false for it")
        for source, target, wanted in zip(bottom, top, propagate_down, strict=False):
            if wanted:
                total = target.grad.new_zeros(source.shape)
                source.grad = total.index_copy_(0, self.selected, target.grad)
