"""SPP: spatial pyramid pooling."""
from __future__ import annotations

import torch

from ..families.pooling import Pool, average_pool, max_pool
from ..layer import AutogradLayer, register


@register("SPP")
class SPP(AutogradLayer):
    """The image pooled into 1 x 1, 2 x 2, 4 x 4 ... bins, all bins of all channels in one vector

    bottoms  (N, C, H, W)
    tops     (N, C * (1 + 4 + ... + 4^(pyramid_height - 1))); (N, C, 1, 1) for pyramid_height 1
    param    spp_param: pyramid_height; pool MAX (default) or AVE

    A level of b bins has windows of ceil(size / b) pixels, side by side, over the padded image.
    He et al. 2014; source: src/caffe/layers/spp_layer.cpp.
    """

    exact_bottoms = exact_tops = 1

    def setup(self, bottom, top):
        param = self.param.spp_param
        self.method = param.PoolMethod.Name(param.pool)
        if self.method == "STOCHASTIC":
            self.fail("pool must be MAX or AVE, found STOCHASTIC")
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
        return Pool(kernel, stride=kernel, pad=pad)

    def compute(self, *tensors: torch.Tensor) -> torch.Tensor:
        (image,) = tensors
        levels = [average_pool(image, pool) if self.method == "AVE" else max_pool(image, pool)[0]
                  for pool in self.pools]
        return levels[0] if len(levels) == 1 else torch.cat([level.flatten(1) for level in levels], 1)
