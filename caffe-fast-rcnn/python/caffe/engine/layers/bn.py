"""BN: batch normalisation with a learned slope and bias."""
from __future__ import annotations

import torch

from ..blob import Blob
from ..fillers import fill
from ..layer import TRAIN, Layer, register

_OF_PSPNET = ("slope_filler", "bias_filler", "momentum", "eps", "frozen")
_OF_SEGNET = ("scale_filler", "shift_filler", "bn_mode")
_SEGNET_EPS = 1e-9


@register("BN")
class BN(Layer):
    """Batch normalisation of each channel, with learned slope and bias.

    top = slope * (bottom - mean) / sqrt(variance + eps) + bias

    Two forks define a layer of this name; the fields of bn_param select the variant, PSPNet's if there are none.

    PSPNet   blobs: slope, bias, mean and variance, all (1, C, 1, 1). slope_filler and bias_filler (both 0 unless
             given), momentum (0.9), eps (1e-5), frozen (false). TRAIN uses the batch statistics and updates the stored
             ones: stored = momentum stored + (1 - momentum) batch. TEST and `frozen: true` use the stored statistics;
             frozen blobs have lr_mult 0
    SegNet   blobs: slope and bias, (1, C, 1, 1). scale_filler and shift_filler (both 0 unless given), bn_mode. LEARN
             (default) uses the batch statistics in both phases, with an eps of 1e-9, and has two optional further tops:
             mean and variance, (1, C, 1, 1). INFERENCE only multiplies by slope and adds bias

    bottoms  (N, C, ...)
    tops     same shape
    param    bn_param, as above

    In TEST the gradient treats the stored statistics as constants; the forks compute it as if they were the batch's.
    The stored variance is the biased one (divided by the number of values), as in the fork's CPU code.
    Source: src/caffe/layers/bn_layer.cpp of PSPNet and of SegNet.
    """

    exact_bottoms = 1
    min_tops = 1
    max_tops = 3
    runs_in_place = True
    has_effects = True      # updates the statistics
    backward_reads_tops = False

    def setup(self, bottom, top):
        param, shape = self.param.bn_param, bottom[0].shape
        if len(shape) < 2:
            self.fail(f"expected a bottom of at least 2 axes (N, C, ...), found shape {shape}")
        kinds = [[name for name in names if param.HasField(name)] for names in (_OF_PSPNET, _OF_SEGNET)]
        if all(kinds):
            self.fail(f"{kinds[0][0]} is of PSPNet's BN and {kinds[1][0]} of SegNet's; give fields of one kind")
        self.is_segnet = bool(kinds[1])
        self.channels = shape[1]
        (self._setup_segnet if self.is_segnet else self._setup_pspnet)()
        if len(top) > 1 and not (self.is_segnet and self.source == "batch"):
            self.fail(f"only SegNet's LEARN has tops for mean and variance, found {len(top)} tops")

    def _setup_segnet(self) -> None:
        param = self.param.bn_param
        self._add_blobs(param.scale_filler, param.shift_filler)
        self.source = "batch" if param.BNMode.Name(param.bn_mode) == "LEARN" else "none"
        self.eps = _SEGNET_EPS

    def _setup_pspnet(self) -> None:
        param, specs = self.param.bn_param, self.param.param
        self._add_blobs(param.slope_filler, param.bias_filler)
        self.blobs.extend([Blob(1, self.channels, 1, 1), Blob(1, self.channels, 1, 1)])
        if param.frozen:
            self.blobs[3].tensor = torch.ones_like(self.blobs[3].tensor)
        while len(specs) < 4:
            specs.add()
        for spec in specs[0 if param.frozen else 2:]:
            spec.lr_mult = spec.decay_mult = 0
        self.source = "batch" if self.phase == TRAIN and not param.frozen else "stored"
        self.eps = param.eps

    def _add_blobs(self, slope_filler, bias_filler) -> None:
        for filler in (slope_filler, bias_filler):
            self.blobs.append(Blob(1, self.channels, 1, 1))
            fill(self.blobs[-1], filler)

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        if len(shape) < 2 or shape[1] != self.channels:
            self.fail(f"expected {self.channels} channels at axis 1, found shape {shape}")
        self.spread = (1, self.channels) + (1,) * (len(shape) - 2)
        self.averaged = [axis for axis in range(len(shape)) if axis != 1]
        top[0].reshape(*shape)
        for blob in top[1:]:
            blob.reshape(1, self.channels, 1, 1)

    def _spread(self, blob: Blob) -> torch.Tensor:
        return blob.tensor.reshape(self.spread)

    def _statistics(self, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance to normalise with, shaped to broadcast over the bottom."""
        if self.source == "stored":
            return self._spread(self.blobs[2]), self._spread(self.blobs[3])
        if not value.numel():
            self.fail(f"a batch of shape {tuple(value.shape)} has no mean and variance")
        variance, mean = torch.var_mean(value, self.averaged, correction=0, keepdim=True)
        if not self.is_segnet:
            momentum = self.param.bn_param.momentum
            for blob, found in zip(self.blobs[2:], (mean, variance), strict=True):
                blob.tensor = momentum * blob.tensor + (1 - momentum) * found.reshape(blob.shape)
        return mean, variance

    def forward(self, bottom, top):
        value = bottom[0].tensor
        if self.source == "none":
            self.mean, self.inverse = value.new_zeros(()), value.new_ones(())
        else:
            self.mean, variance = self._statistics(value)
            self.inverse = (variance + self.eps).rsqrt()
            for blob, found in zip(top[1:], (self.mean, variance), strict=False):
                blob.tensor = found.reshape(blob.shape)
        normalised = (value - self.mean) * self.inverse
        top[0].tensor = normalised * self._spread(self.blobs[0]) + self._spread(self.blobs[1])

    def backward(self, top, propagate_down, bottom):
        gradient = top[0].grad
        normalised = (bottom[0].tensor - self.mean) * self.inverse
        for index, product in ((0, gradient * normalised), (1, gradient)):
            if self.param_propagate_down[index]:
                self.accumulate(index, product.sum(self.averaged))
        if not propagate_down[0]:
            return
        gradient = gradient * self._spread(self.blobs[0])
        if self.source == "batch":
            along = (gradient * normalised).mean(self.averaged, keepdim=True)
            gradient = gradient - gradient.mean(self.averaged, keepdim=True) - normalised * along
        bottom[0].grad = gradient * self.inverse
