"""The shapes that RoI layers take, and the base of PSROIPooling and ROIAlign, which take means over the bins of RoIs.

A bin of a mean is defined by one weight per row and per column of the feature map: it is the sum of all pixels times
both weights.
"""
from __future__ import annotations

import torch

from ..blob import Blob
from ..layer import Layer


def check_shapes(layer: Layer, features: Blob, rois: Blob) -> None:
    """Raise LayerError for features or RoIs of the wrong shape."""
    if len(features.shape) != 4:
        layer.fail(f"expected features of 4 axes (N, C, H, W), found shape {features.shape}")
    if not rois.shape or rois.count != 5 * rois.shape[0]:
        layer.fail(f"expected RoIs of shape (R, 5), found {rois.shape}")


class RoiMeanLayer(Layer):
    """A layer with bottoms features (N, C, H, W) and RoIs (R, 5): batch index, x1, y1, x2, y2.

    Subclasses set `bins` in setup and compute the weights of the bins. Only the features receive a gradient. As in
    ROIPooling, the RoIs' gradient is left unchanged even if requested, as when a trained RPN proposes them.
    """

    exact_bottoms = 2
    exact_tops = 1
    bins = (0, 0)
    forward_rule = ""       # einsum of features, row weights (bins, H) and column weights (bins, W)
    backward_rule = ""      # einsum of the top's gradient and the weights
    backward_reads_bottoms = backward_reads_tops = False

    def weights(self, first: torch.Tensor, last: torch.Tensor, bins: int, length: int) -> torch.Tensor:
        """The weight of every row (or column) in every bin of RoIs from `first` to `last`: (R, bins, length)."""
        raise NotImplementedError(f"{type(self).__name__} has no weights")

    def shaped(self, features: torch.Tensor) -> torch.Tensor:
        """A view of the features with rearranged axes."""
        return features

    def check_bins(self, scale: float) -> None:
        """Raise LayerError for an invalid number of bins or spatial scale."""
        if min(self.bins) < 1:
            self.fail(f"needs at least one bin in each direction, found {self.bins}")
        if not scale > 0:
            self.fail(f"needs a spatial_scale above 0, found {scale}")

    def _parts_of(self, bottom) -> list[tuple]:
        """For each RoI its region, as an index into the features, and the row and column weights there.

        Raises LayerError for RoIs that are not finite or have an invalid batch index.
        """
        rois, (batch, _, height, width) = bottom[1].tensor.detach().reshape(-1, 5), bottom[0].shape
        good = rois.isfinite().all(1) & (rois[:, 0] >= 0) & (rois[:, 0] < batch)
        bad = (~good).nonzero().flatten().tolist()
        if bad:
            self.fail(f"roi {bad[0]} is (image, x1, y1, x2, y2) = {[round(v, 2) for v in rois[bad[0]].tolist()]}; the "
                      f"batch has {batch} image(s), counted from 0, and coordinates must be finite")
        rows = self.weights(rois[:, 2], rois[:, 4], self.bins[0], height).to(rois.dtype)
        columns = self.weights(rois[:, 1], rois[:, 3], self.bins[1], width).to(rois.dtype)
        return [((image, ..., high, wide), row[:, high], column[:, wide]) for image, high, wide, row, column in zip(
            rois[:, 0].long().tolist(), _touched(rows), _touched(columns), rows, columns, strict=True)]

    def forward(self, bottom, top):
        self.parts = self._parts_of(bottom)
        features, result = self.shaped(bottom[0].tensor), bottom[0].tensor.new_empty(top[0].shape)
        for index, (part, rows, columns) in enumerate(self.parts):
            result[index] = torch.einsum(self.forward_rule, features[part], rows, columns)
        top[0].tensor = result

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        gradient = top[0].grad.new_zeros(bottom[0].shape)
        shaped = self.shaped(gradient)
        for diff, (part, rows, columns) in zip(top[0].grad, self.parts, strict=True):
            shaped[part] += torch.einsum(self.backward_rule, diff, rows, columns)
        bottom[0].grad = gradient


def _touched(weights: torch.Tensor) -> list[slice]:
    """For each RoI the range of rows (or columns) with a non-zero weight; all of them if there is none."""
    used = weights.any(1).int()
    first, behind = used.argmax(1), weights.shape[2] - used.flip(1).argmax(1)
    return [slice(begin, end) for begin, end in zip(first.tolist(), behind.tolist(), strict=True)]
