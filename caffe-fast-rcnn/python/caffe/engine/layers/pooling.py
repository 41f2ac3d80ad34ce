"""Pooling over the windows of an image."""
from __future__ import annotations

import torch

from .. import device
from ..bases.pooling import (
    Pool,
    average_pool,
    max_pool,
    max_pool_backward,
    scatter,
    stochastic_pool,
    stochastic_pool_mean,
)
from ..layer import TRAIN, Layer, register


@register("Pooling")
class Pooling(Layer):
    """The maximum (MAX), mean (AVE) or a random value (STOCHASTIC) of each window and channel.

    bottoms  (N, C, H, W)
    tops     (N, C, ceil((H + 2 pad - kernel) / stride) + 1, the same for W); with MAX optionally a second top, the
             position of each maximum, y W + x
    param    pooling_param: pool (MAX), kernel_size | kernel_h, kernel_w | global_pooling, stride, pad,
             round_mode CEIL (default) or FLOOR, in forks ceil_mode: true or false

    With padding, a last window that starts beyond the image is dropped. MAX takes the first of equal values; a window
    without pixels gives -FLT_MAX. AVE divides by the area of the window within image and padding.
    In TRAIN, STOCHASTIC samples a pixel with probability proportional to its value (Zeiler and Fergus 2013); in TEST it
    takes the mean with these weights. BVLC Caffe supports it on the GPU only.
    Source: src/caffe/layers/pooling_layer.cpp.
    """

    exact_bottoms = 1
    min_tops = 1
    max_tops = 2
    backward_reads_bottoms = backward_reads_tops = False

    def setup(self, bottom, top):
        param = self.param.pooling_param
        self.method = param.PoolMethod.Name(param.pool)
        if len(top) > 1 and self.method != "MAX":
            self.fail(f"only MAX has a second top, found pool: {self.method}")
        given = [name for name in ("kernel_size", "kernel_h", "kernel_w") if param.HasField(name)]
        if param.global_pooling:
            if given or any(self._pair("pad")) or self._pair("stride") != (1, 1):
                self.fail(f"global_pooling takes no kernel, and pad 0 and stride 1; found {given}, pad "
                          f"{self._pair('pad')}, stride {self._pair('stride')}")
        elif given not in (["kernel_size"], ["kernel_h", "kernel_w"]):
            self.fail(f"expected kernel_size, or kernel_h and kernel_w, found {given}")
        self.reshape(bottom, top)

    def _pair(self, name: str, plain: str | None = None) -> tuple[int, int]:
        """(height, width) from `<name>_h` and `<name>_w`, or from the single field for both. Raises LayerError."""
        param = self.param.pooling_param
        plain = plain or name
        given = [param.HasField(f"{name}_h"), param.HasField(f"{name}_w")]
        if not any(given):
            return (getattr(param, plain),) * 2
        if not all(given) or param.HasField(plain):
            self.fail(f"expected either {plain}, or both {name}_h and {name}_w")
        return getattr(param, f"{name}_h"), getattr(param, f"{name}_w")

    def _window(self, shape: tuple[int, ...]) -> Pool:
        param = self.param.pooling_param
        if param.global_pooling:
            return Pool((shape[2], shape[3]))
        pool = Pool(self._pair("kernel", "kernel_size"), self._pair("stride"), self._pair("pad"), self._rounds_up())
        if min(*pool.kernel, *pool.stride) < 1:
            self.fail(f"kernel and stride must be at least 1, found {pool.kernel} and {pool.stride}")
        if any(pad >= kernel for pad, kernel in zip(pool.pad, pool.kernel, strict=True)):
            self.fail(f"pad must be smaller than the kernel, found {pool.pad} and {pool.kernel}")
        if any(pool.pad) and self.method == "STOCHASTIC":
            self.fail(f"STOCHASTIC takes no pad, found {pool.pad}")
        return pool

    def _rounds_up(self) -> bool:
        param = self.param.pooling_param
        up = param.RoundMode.Name(param.round_mode) == "CEIL"
        if not param.HasField("ceil_mode"):
            return up
        if param.HasField("round_mode") and up != param.ceil_mode:
            self.fail("round_mode and ceil_mode contradict each other; remove one")
        return param.ceil_mode

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        if len(shape) != 4:
            self.fail(f"expected a bottom of 4 axes (N, C, H, W), found shape {shape}")
        self.pool = self._window(shape)
        size = self.pool.output_size(*shape[2:])
        if min(size) < 1:
            self.fail(f"{self.pool} does not fit into a bottom of shape {shape}: the top would be {size}")
        for blob in top:
            blob.reshape(*shape[:2], *size)

    def forward(self, bottom, top):
        if self.method == "MAX":
            top[0].tensor, self.places = max_pool(bottom[0].stored, self.pool)
            if len(top) > 1:
                top[1].tensor = self.places.to(device.float_type())
            return
        image = bottom[0].tensor
        if self.method == "AVE":
            top[0].tensor = average_pool(image, self.pool)
        elif self.phase == TRAIN:
            top[0].tensor, self.places = stochastic_pool(image, self.pool, device.generator())
        else:
            top[0].tensor = stochastic_pool_mean(image, self.pool)

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        if self.method == "MAX":
            image = bottom[0].stored
            bottom[0].grad = max_pool_backward(top[0].stored_grad.to(image.dtype), image, self.places, self.pool)
            return
        gradient, image = top[0].grad, bottom[0].tensor
        if self.method == "AVE":
            bottom[0].grad = torch.func.vjp(lambda value: average_pool(value, self.pool), image)[1](gradient)[0]
        elif self.phase == TRAIN:
            bottom[0].grad = scatter(gradient, self.places, image.shape)
        else:
            self.fail("STOCHASTIC pooling has a gradient in the TRAIN phase only")
