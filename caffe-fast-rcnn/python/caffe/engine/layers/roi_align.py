"""ROIAlign: RoI pooling without rounding."""
from __future__ import annotations

import torch

from ..bases.rois import RoiMeanLayer, check_shapes
from ..blob import checked_shape
from ..layer import register


@register("ROIAlign")
class ROIAlign(RoiMeanLayer):
    """The mean of bilinearly interpolated sampling points in each of pooled_h x pooled_w bins of every RoI.

    bottoms  features (N, C, H, W), RoIs (R, 5): batch index, x1, y1, x2, y2 (in pixels of the input image); only the
             features receive a gradient
    tops     (R, C, pooled_h, pooled_w)
    param    roi_align_param: pooled_h, pooled_w, spatial_scale (1), sampling_ratio (-1). A bin has a regular grid of
             sampling_ratio x sampling_ratio points; if it is not positive, as many per axis as the bin has pixels,
             rounded up. roi_pooling_param, which some forks use, is accepted instead

    Corners are scaled but not rounded; a RoI is at least one pixel of the feature map wide. Points up to one pixel
    outside the feature map take the value at its border, points further out are 0.
    Forks define ROIAlign differently (some take the maximum of four points). This is the definition of He et al.,
    "Mask R-CNN", 2017, section 3, with the arithmetic of Caffe2's RoIAlign.
    """

    other_settings = ("roi_pooling_param",)

    def setup(self, bottom, top):
        given = [name for name in ("roi_align_param", "roi_pooling_param") if self.param.HasField(name)]
        if len(given) != 1:
            self.fail(f"expected roi_align_param, or roi_pooling_param instead; found {given or 'none'}")
        param = getattr(self.param, given[0])
        self.bins, self.scale = (param.pooled_h, param.pooled_w), param.spatial_scale
        self.ratio = self.param.roi_align_param.sampling_ratio
        self.check_bins(self.scale)

    def reshape(self, bottom, top):
        check_shapes(self, *bottom)
        top[0].reshape(bottom[1].shape[0], bottom[0].shape[1], *self.bins)

    def weights(self, first, last, bins, length):
        start = first * self.scale
        size = (last * self.scale - start).clamp(min=1) / bins
        if not size.isfinite().all():
            self.fail(f"spatial_scale {self.scale:g} is too large for the RoIs")
        counts = torch.full_like(size, self.ratio) if self.ratio > 0 else size.ceil()
        most = int(counts.max()) if len(counts) else 1
        checked_shape((len(counts), bins, most))
        index = torch.arange(bins, device=first.device, dtype=first.dtype)[:, None]
        sample = torch.arange(most, device=first.device, dtype=first.dtype)
        start, size, counts = (value[:, None, None] for value in (start, size, counts))
        points = start + (index + (sample + 0.5) / counts) * size                       # (R, bins, samples)
        return self._hats(points, (sample < counts) / counts, length)

    @staticmethod
    def _hats(points: torch.Tensor, shares: torch.Tensor, length: int) -> torch.Tensor:
        """The bilinear weights (R, bins, length) of the pixels, summed over each bin's points weighted by `shares`."""
        shares = shares * ((points >= -1) & (points <= length))
        points = points.clamp(0, length - 1)
        low = points.floor()
        result = points.new_zeros(*points.shape[:2], length)
        result.scatter_add_(2, low.long(), (low + 1 - points) * shares)
        return result.scatter_add_(2, (low + 1).clamp(max=length - 1).long(), (points - low) * shares)
