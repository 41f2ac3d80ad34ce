"""BatchNorm: normalise each channel to zero mean and unit variance."""
from __future__ import annotations

import torch

from ...proto import caffe_pb2
from ..blob import Blob
from ..fillers import fill
from ..layer import TEST, Layer, register


@register("BatchNorm")
class BatchNorm(Layer):
    """Batch normalisation of each channel (axis 1).

    top = (bottom - mean) / sqrt(variance + eps) [* scale + bias]

    bottoms  (N, C, ...), or (N,) as one channel
    tops     same shape
    blobs    sum of means (C), sum of variances (C), their weight (1): the stored statistics are blob / weight; with
             scale_bias also scale (C) and bias (C)
    param    batch_norm_param: use_global_stats (true in TEST, false in TRAIN), moving_average_fraction (0.999),
             eps (1e-5). From NVIDIA Caffe: scale_bias (false), scale_filler (1) and bias_filler (0), each of which
             implies scale_bias. From Intel Caffe, for the same purpose: use_weight_bias, filler and bias_term (true)

    With use_global_stats the stored statistics are used, 0 where the weight is 0. Otherwise the batch statistics are
    used, and in either phase the blobs are updated: blob = fraction blob + statistic, with the variance of m values
    multiplied by m / (m - 1). An empty batch has no statistics and leaves the blobs unchanged. These blobs are not
    learned: their lr_mult defaults to 0, and any other value is an error.
    If backward runs, it writes the bottom's gradient even if it was not requested.
    In BVLC Caffe, scale and bias need a Scale layer. Ioffe and Szegedy 2015; source:
    src/caffe/layers/batch_norm_layer.cpp.
    """

    exact_bottoms = exact_tops = 1
    runs_in_place = True
    has_effects = True      # updates the statistics
    writes_unasked = True
    backward_reads_bottoms = backward_reads_tops = False

    def setup(self, bottom, top):
        param, specs = self.param.batch_norm_param, self.param.param
        self.stored = param.use_global_stats if param.HasField("use_global_stats") else self.phase == TEST
        shape = bottom[0].shape
        self.channels = shape[1] if len(shape) > 1 else 1
        self.blobs.extend([Blob(self.channels), Blob(self.channels), Blob(1)])
        self._add_scale_and_bias()
        for index in range(3):
            if index == len(specs):
                specs.add().lr_mult = 0
            elif specs[index].lr_mult != 0:
                self.fail(f"its blobs hold statistics and cannot be learned: param {index} has lr_mult "
                          f"{specs[index].lr_mult}, expected 0")

    def _add_scale_and_bias(self) -> None:
        param = self.param.batch_norm_param
        is_intels = param.HasField("use_weight_bias")
        scaled = param.use_weight_bias if is_intels else any(
            (param.scale_bias, param.HasField("scale_filler"), param.HasField("bias_filler")))
        if not scaled:
            return
        scale_filler = param.filler if is_intels else param.scale_filler
        for filler, given, default in ((scale_filler, param.HasField("filler" if is_intels else "scale_filler"), 1.0),
                                       (param.bias_filler, param.HasField("bias_filler"), 0.0)):
            self.blobs.append(Blob(self.channels))
            fill(self.blobs[-1], filler if given else caffe_pb2.FillerParameter(value=default))
        if is_intels and not param.bias_term:
            del self.blobs[4]

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        if not shape or (shape[1] if len(shape) > 1 else 1) != self.channels:
            self.fail(f"expected {self.channels} channels at axis 1, found shape {shape}")
        top[0].reshape(*shape)
        self.spread = (1, self.channels) + (1,) * (len(shape) - 2) if len(shape) > 1 else (1,)
        self.averaged = [axis for axis in range(len(shape)) if axis != 1]

    def forward(self, bottom, top):
        value = bottom[0].tensor
        mean, variance = self._stored_statistics() if self.stored else self._batch_statistics(value)
        self.inverse = (variance + self.param.batch_norm_param.eps).rsqrt().reshape(self.spread)
        normalised = (value - mean.reshape(self.spread)) * self.inverse
        scale, bias = self._scale_and_bias()
        if scale is None:
            top[0].tensor = normalised
            # The gradient needs this pass's top, which later in-place layers and users may overwrite.
            self.normalised = None if self.stored else normalised.clone()
        else:
            top[0].tensor = normalised * scale if bias is None else normalised * scale + bias
            self.normalised = normalised

    def _scale_and_bias(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """The learned scale and bias, shaped to broadcast over the bottom; None for those that do not exist."""
        scale, bias = (*(blob.tensor.reshape(self.spread) for blob in self.blobs[3:]), None, None)[:2]
        return scale, bias

    def _stored_statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        mean, variance, weight = (blob.tensor for blob in self.blobs[:3])
        factor = (1 / weight).where(weight != 0, 0)
        return mean * factor, variance * factor

    def _batch_statistics(self, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance of the batch, (C,); adds them to the blobs. An empty batch gives unused zeros and ones."""
        if not value.numel():
            return value.new_zeros(self.channels), value.new_ones(self.channels)
        variance, mean = torch.var_mean(value, self.averaged, correction=0)
        count = value.numel() // self.channels
        corrected = variance * (count / (count - 1)) if count > 1 else variance
        fraction = self.param.batch_norm_param.moving_average_fraction
        for blob, addend in zip(self.blobs[:3], (mean, corrected, 1), strict=True):
            blob.tensor = blob.tensor * fraction + addend
        return mean, variance

    def backward(self, top, propagate_down, bottom):
        gradient = top[0].grad
        scale, bias = self._scale_and_bias()
        if scale is not None:
            self.accumulate(3, (gradient * self.normalised).sum(self.averaged))
            gradient = gradient * scale
        if bias is not None:
            self.accumulate(4, top[0].grad.sum(self.averaged))
        if not self.stored:
            mean = gradient.mean(self.averaged, keepdim=True)
            along = (gradient * self.normalised).mean(self.averaged, keepdim=True)
            gradient = gradient - mean - self.normalised * along
        bottom[0].grad = gradient * self.inverse
