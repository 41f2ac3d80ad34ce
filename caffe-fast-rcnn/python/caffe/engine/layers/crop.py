"""Crop: crop a blob to the size of another."""
from __future__ import annotations

from ..layer import Layer, register


@register("Crop")
class Crop(Layer):
    """Bottom 0 cropped to the size of bottom 1, in the axes from crop_param.axis (2) on.

    bottoms  the blob to crop, and a reference blob with the same number of axes, which receives no gradient
    tops     bottom 0's dimensions before the axis, bottom 1's from the axis on
    param    crop_param: axis; offset: where the crop begins, one for all cropped axes or one for each; 0 unless given

    Source: src/caffe/layers/crop_layer.cpp.
    """

    exact_bottoms = 2
    exact_tops = 1
    backward_reads_bottoms = backward_reads_tops = False

    def reshape(self, bottom, top):
        param, shape, wanted = self.param.crop_param, bottom[0].shape, bottom[1].shape
        start = self.axis(param.axis, len(shape))
        if len(wanted) != len(shape):
            self.fail(f"bottoms need the same number of axes, found shapes {shape} and {wanted}")
        count = len(shape) - start
        offsets = list(param.offset) or [0]
        if len(offsets) not in (1, count):
            self.fail(f"expected one offset, or one for each of {count} axes, found {offsets}")
        offsets = offsets * count if len(offsets) == 1 else offsets
        for axis, offset in enumerate(offsets, start):
            if offset + wanted[axis] > shape[axis]:
                self.fail(f"axis {axis}: offset {offset} and size {wanted[axis]} exceed the {shape[axis]} of bottom 0")
        self.part = (slice(None),) * start + tuple(
            slice(offset, offset + wanted[axis]) for axis, offset in enumerate(offsets, start))
        top[0].reshape(*shape[:start], *wanted[start:])

    def forward(self, bottom, top):
        top[0].tensor = bottom[0].tensor[self.part].clone()

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            gradient = top[0].grad.new_zeros(bottom[0].shape)
            gradient[self.part] = top[0].grad
            bottom[0].grad = gradient
