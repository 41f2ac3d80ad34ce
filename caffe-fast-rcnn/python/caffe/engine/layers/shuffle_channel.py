"""ShuffleChannel: interleave groups of channels."""
from __future__ import annotations

from ..layer import Layer, register


@register("ShuffleChannel")
class ShuffleChannel(Layer):
    """Channel shuffle: top channel j * group + i = bottom channel i * (C / group) + j

    bottoms  (N, C, ...), with C a multiple of group
    tops     same shape: the first channels of all groups, then the second channels of all groups, and so on
    param    shuffle_channel_param: group (1)

    Zhang et al., "ShuffleNet", 2017, figure 1.
    """

    exact_bottoms = exact_tops = 1
    backward_reads_bottoms = backward_reads_tops = False

    def reshape(self, bottom, top):
        group, shape = self.param.shuffle_channel_param.group, bottom[0].shape
        if len(shape) < 2:
            self.fail(f"expected a bottom of at least 2 axes (N, C, ...), found shape {shape}")
        if group < 1 or shape[1] % group:
            self.fail(f"group must be at least 1 and divide the {shape[1]} channels, found {group}")
        self.group = group
        top[0].reshape(*shape)

    @staticmethod
    def _dealt(value, groups: int):
        """The values with the groups of channels interleaved."""
        shape = value.shape
        return value.unflatten(1, (groups, shape[1] // groups)).transpose(1, 2).reshape(shape).clone()

    def forward(self, bottom, top):
        top[0].tensor = self._dealt(bottom[0].tensor, self.group)

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            bottom[0].grad = self._dealt(top[0].grad, bottom[0].shape[1] // self.group)
