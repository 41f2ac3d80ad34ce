"""Input: blobs that the user fills."""
from __future__ import annotations

from ..layer import Layer, register


@register("Input")
class Input(Layer):
    """Tops with the shapes of input_param, zero until the user writes them.

    input_param.shape: one for all tops, one for each, or none (then call `blob.reshape` before the first pass).
    Source: src/caffe/layers/input_layer.cpp.
    """

    exact_bottoms = 0
    min_tops = 1

    def setup(self, bottom, top):
        shapes = self.param.input_param.shape
        if len(shapes) not in (0, 1, len(top)):
            self.fail(f"expected one shape, or one for each of {len(top)} tops, found {len(shapes)}")
        for index, blob in enumerate(top):
            if shapes:
                blob.reshape(*shapes[index if len(shapes) > 1 else 0].dim)

    def reshape(self, bottom, top):
        """Nothing to do: users reshape inputs themselves."""

    def forward(self, bottom, top):
        """Nothing to do: users write inputs themselves."""

    def backward(self, top, propagate_down, bottom):
        """No bottoms."""
