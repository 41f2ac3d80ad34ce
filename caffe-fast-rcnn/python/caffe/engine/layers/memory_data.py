"""MemoryData: batches of an array in memory."""
from __future__ import annotations

import numpy as np

from ..bases.images import to_tensor
from ..layer import Layer, register


@register("MemoryData")
class MemoryData(Layer):
    """Batches of the arrays given to net.set_input_arrays(data, labels), endlessly.

    tops     data (batch_size, channels, height, width); labels (batch_size) until the first forward pass, then
             (batch_size, 1, 1, 1)
    param    memory_data_param: batch_size, channels, height, width

    Source: src/caffe/layers/memory_data_layer.cpp.
    """

    exact_bottoms = 0
    exact_tops = 2

    def setup(self, bottom, top):
        param = self.param.memory_data_param
        self.shape = (param.batch_size, param.channels, param.height, param.width)
        if min(self.shape) < 1:
            self.fail(f"batch_size, channels, height and width must be given and at least 1, found {self.shape}")
        self.data: np.ndarray | None = None
        top[0].reshape(*self.shape)
        top[1].reshape(self.shape[0])

    def set_arrays(self, data: np.ndarray, labels: np.ndarray) -> None:
        """Set data (N, channels, height, width) and N labels; N must be a multiple of batch_size. Raises LayerError."""
        data, labels = np.asarray(data), np.asarray(labels)
        if data.shape[1:] != self.shape[1:]:
            self.fail(f"expected data of shape (N, {', '.join(map(str, self.shape[1:]))}), found {data.shape}")
        if not len(data) or len(data) % self.shape[0] or labels.size != len(data):
            self.fail(f"expected as many labels as items, and a multiple of the batch size {self.shape[0]}; "
                      f"found {len(data)} items and {labels.size} labels")
        self.data, self.labels, self.position = data, labels.reshape(-1, 1, 1, 1), 0

    def reshape(self, bottom, top):
        """The shapes are set in setup."""

    def forward(self, bottom, top):
        if self.data is None:
            self.fail("has no data yet: call net.set_input_arrays(data, labels)")
        top[1].reshape(self.shape[0], 1, 1, 1)
        part = slice(self.position, self.position + self.shape[0])
        top[0].tensor, top[1].tensor = to_tensor(self.data[part]), to_tensor(self.labels[part])
        self.position = part.stop % len(self.data)

    def backward(self, top, propagate_down, bottom):
        """No bottoms."""
