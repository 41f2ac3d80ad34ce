"""The shapes that RoI layers take, and the base of PSROIPooling and ROIAlign, which take means over the bins of RoIs.

A bin of a mean is defined by one weight per row and per column of the feature map: it is the sum of all pixels times
both weights. Few of them are not zero: those pixels of all bins are listed, and PyTorch's EmbeddingBag adds them up.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as nnf

from ..blob import Blob
from ..layer import Layer

ROIS_AT_ONCE = 256      # bounds the memory of the lists


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
    has_own_channels = False        # whether each bin reads channels of its own: C = channels of the top * bins
    backward_reads_bottoms = backward_reads_tops = False

    def weights(self, first: torch.Tensor, last: torch.Tensor, bins: int, length: int) -> torch.Tensor:
        """The weight of every row (or column) in every bin of RoIs from `first` to `last`: (R, bins, length)."""
        raise NotImplementedError(f"{type(self).__name__} has no weights")

    def check_bins(self, scale: float) -> None:
        """Raise LayerError for an invalid number of bins or spatial scale."""
        if min(self.bins) < 1:
            self.fail(f"needs at least one bin in each direction, found {self.bins}")
        if not scale > 0:
            self.fail(f"needs a spatial_scale above 0, found {scale}")

    def forward(self, bottom, top):
        self.taps = self._taps(bottom)
        pixels = self._pixels(bottom[0].tensor).flatten(0, -2)
        sums = torch.cat([taps.sums(pixels) for taps in self.taps])
        top[0].tensor = sums.unflatten(0, (-1, *self.bins)).movedim(-1, 1).contiguous()

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        gradient = top[0].grad.new_zeros(bottom[0].shape)
        pixels = self._pixels(gradient)
        for taps, part in zip(self.taps, top[0].grad.movedim(1, -1).split(ROIS_AT_ONCE), strict=True):
            pixels += taps.spread(part.flatten(0, -2), pixels.shape[:-1].numel()).view(pixels.shape)
        bottom[0].grad = gradient

    def _pixels(self, features: torch.Tensor) -> torch.Tensor:
        """A view of the features: (N, rows and columns of bins with their own channels, H, W, channels of the top)."""
        return features.unflatten(1, (-1, *(self.bins if self.has_own_channels else (1, 1)))).movedim(1, -1)

    def _taps(self, bottom) -> list[Taps]:
        """The pixels of all bins, ROIS_AT_ONCE RoIs in each element.

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
        plane = rois[:, 0].long()[:, None, None].expand(-1, *self.bins)
        if self.has_own_channels:
            count = self.bins[0] * self.bins[1]
            plane = plane * count + torch.arange(count, device=rois.device).view(self.bins)
        return [Taps.of(*group) for group in zip(*(
            values.split(ROIS_AT_ONCE) for values in (rows, columns, plane)), strict=True)]


@dataclass(frozen=True)
class Taps:
    """The pixels that B bins add up, T in all, in the order of the bins.

    pixels   (T,) indices of pixels, int64
    weights  (T,) their weights
    counts   (B,) number of pixels of each bin, int64
    """

    pixels: torch.Tensor
    weights: torch.Tensor
    counts: torch.Tensor

    @classmethod
    def of(cls, rows: torch.Tensor, columns: torch.Tensor, plane: torch.Tensor) -> Taps:
        """The pixels whose weights are not zero.

        rows     (R, P, H) weights of rows
        columns  (R, Q, W) weights of columns
        plane    (R, P, Q) the feature map that each bin reads, int64
        """
        (y, of_y, many_y, start_y), (x, of_x, many_x, start_x) = _non_zero(rows), _non_zero(columns)
        counts = (many_y[:, :, None] * many_x[:, None, :]).flatten()

        def repeated(values: torch.Tensor) -> torch.Tensor:
            return values.expand(plane.shape).flatten().repeat_interleave(counts)

        index = torch.arange(int(counts.sum()), device=counts.device) - _starts(counts).repeat_interleave(counts)
        width = repeated(many_x[:, None, :])
        row, column = repeated(start_y[:, :, None]) + index // width, repeated(start_x[:, None, :]) + index % width
        pixels = (repeated(plane) * rows.shape[2] + y[row]) * columns.shape[2] + x[column]
        return cls(pixels, of_y[row] * of_x[column], counts)

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """The bins (B, C): sums of the pixels (number of pixels, C) with their weights."""
        return _bags(values, self.pixels, self.weights, self.counts)

    def spread(self, values: torch.Tensor, count: int) -> torch.Tensor:
        """The transpose of `sums`, from bins (B, C) to `count` pixels (count, C)."""
        order = self.pixels.argsort(stable=True)
        bins = torch.arange(len(self.counts), device=order.device).repeat_interleave(self.counts)
        return _bags(values, bins[order], self.weights[order], torch.bincount(self.pixels, minlength=count))


def _bags(values: torch.Tensor, index: torch.Tensor, weights: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Sums of weights * values[index] over as many neighbours as `counts` says."""
    return nnf.embedding_bag(index, values.contiguous(), _starts(counts), mode="sum", per_sample_weights=weights)


def _starts(counts: torch.Tensor) -> torch.Tensor:
    """Where each part begins: the sum of all counts before it."""
    return counts.cumsum(0) - counts


def _non_zero(weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of (R, bins, length): positions and weights of those that are not zero, and each bin's count and first index."""
    used = weights != 0
    counts = used.sum(2)
    return used.nonzero()[:, 2], weights[used], counts, _starts(counts.flatten()).view(counts.shape)
