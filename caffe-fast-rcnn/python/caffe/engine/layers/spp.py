"""SPP: spatial pyramid pooling."""
from __future__ import annotations

import torch

from .. import device
from ..bases.pooling import Pool, average_pool, max_pool, stochastic_pool, stochastic_pool_mean
from ..layer import TRAIN, AutogradLayer, register


@register("SPP")
class SPP(AutogradLayer):
    """Spatial pyramid pooling: the image pooled into 1 x 1, 2 x 2, 4 x 4, ... bins, concatenated into one vector

    bottoms  (N, C, H, W)
    tops     (N, C * (1 + 4 + ... + 4^(pyramid_height - 1))); (N, C, 1, 1) for pyramid_height 1
    param    spp_param: pyramid_height; pool MAX (default), AVE or STOCHASTIC

    A level of b x b bins has windows of ceil(size / b) pixels, side by side, over the padded image. STOCHASTIC is as in
    Pooling, and without padding: the size must be a multiple of every b.
    He et al. 2014; source: src/caffe/layers/spp_layer.cpp.
    """

    exact_bottoms = exact_tops = 1

    def setup(self, bottom, top):
        param = self.param.spp_param
        self.method = param.PoolMethod.Name(param.pool)
        if param.pyramid_height < 1:
            self.fail(f"pyramid_height must be at least 1, found {param.pyramid_height}")

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        if len(shape) != 4:
            self.fail(f"expected a bottom of 4 axes (N, C, H, W), found shape {shape}")
        self.pools = [self._pool(2 ** level, shape[2:]) for level in range(self.param.spp_param.pyramid_height)]
        if len(self.pools) == 1:
            top[0].reshape(*shape[:2], 1, 1)
        else:
            bins = [height * width for height, width in (pool.output_size(*shape[2:]) for pool in self.pools)]
            top[0].reshape(shape[0], shape[1] * sum(bins))

    def _pool(self, bins: int, sizes) -> Pool:
        kernel = tuple(-(-size // bins) for size in sizes)
        pad = tuple((length * bins - size + 1) // 2 for length, size in zip(kernel, sizes, strict=True))
        if any(border >= length for border, length in zip(pad, kernel, strict=True)):
            self.fail(f"an image of {sizes[0]} x {sizes[1]} is too small for {bins} x {bins} bins")
        if any(pad) and self.method == "STOCHASTIC":
            self.fail(f"STOCHASTIC takes no pad, but {bins} x {bins} bins need {pad} on an image of "
                      f"{sizes[0]} x {sizes[1]}")
        return Pool(kernel, stride=kernel, pad=pad)

    def forward(self, bottom, top):
        if self.method == "STOCHASTIC" and self.phase == TRAIN:     # drawn once: backward needs the same places
            self.places = [stochastic_pool(bottom[0].tensor, pool, device.generator())[1] for pool in self.pools]
        super().forward(bottom, top)

    def backward(self, top, propagate_down, bottom):
        if self.method == "STOCHASTIC" and self.phase != TRAIN and propagate_down[0]:
            self.fail("STOCHASTIC pooling has a gradient in the TRAIN phase only")
        super().backward(top, propagate_down, bottom)

    def compute(self, *tensors: torch.Tensor) -> torch.Tensor:
        (image,) = tensors
        levels = [self._pooled(image, level) for level in range(len(self.pools))]
        return levels[0] if len(levels) == 1 else torch.cat([level.flatten(1) for level in levels], 1)

    def _pooled(self, image: torch.Tensor, level: int) -> torch.Tensor:
        pool = self.pools[level]
        if self.method == "AVE":
            return average_pool(image, pool)
        if self.method == "MAX":
            return max_pool(image, pool)[0]
        if self.phase != TRAIN:
            return stochastic_pool_mean(image, pool)
        places = self.places[level]
        return image.flatten(2).gather(2, places.flatten(2)).reshape(places.shape)
