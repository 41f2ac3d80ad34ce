"""Base class and helpers of loss layers: shape check, loss weight, labels and normalisers."""
from __future__ import annotations

import math

import torch

from ..layer import Layer
from .indices import read_indices

LEAST_PROBABILITY = 1e-20               # Caffe's kLOG_THRESHOLD
LOG_FLT_MIN = math.log(2.0 ** -126)     # Caffe clamps softmax to the smallest normal float32, in double as well


class LossLayer(Layer):
    """A layer with a scalar top that enters the net's objective with `loss_weight` (1).

    Backward multiplies by `top[0].grad`, which holds the loss weight. Bottom 1 holds labels and has no gradient.
    Source: src/caffe/layers/loss_layer.cpp.
    """

    exact_bottoms: int | None = 2
    exact_tops: int | None = 1
    auto_top_blobs = True
    default_loss_weight = 1.0
    no_backward_to: tuple[int, ...] = (1,)
    not_forced: tuple[int, ...] = (1,)

    def reshape(self, bottom, top):
        first, second = bottom[0].shape, bottom[1].shape
        if not first or first[:1] != second[:1]:
            self.fail(f"data and labels need the same first dimension, found {first} and {second}")
        top[0].reshape()

    def labels(self, blob, count: int, classes: int | None = None) -> torch.Tensor:
        """The labels as flat int64 (truncated, as in Caffe). Raises LayerError if their number is not `count`.

        With `classes`, labels are checked by `check_labels`; layers with ignored labels mask them first.
        """
        if blob.count != count:
            self.fail(f"expected {count} labels, found {blob.count} (shape {blob.shape})")
        found = blob.tensor.flatten().long()
        if classes is not None:
            self.check_labels(found, classes)
        return found

    def check_labels(self, labels: torch.Tensor, classes: int) -> None:
        """Raise LayerError for labels outside 0..classes-1, on the CPU only: on CUDA the check would synchronise."""
        read_indices(self, labels, classes, "labels")

    def normalization(self, default: str = "VALID") -> str:
        """FULL, VALID, BATCH_SIZE, NONE or PRE_FIXED, from loss_param; the older `normalize` is VALID or BATCH_SIZE."""
        param = self.param.loss_param
        if param.HasField("normalization"):
            return param.NormalizationMode.Name(param.normalization)
        if param.HasField("normalize"):
            return "VALID" if param.normalize else "BATCH_SIZE"
        return default

    def divisor(self, mode: str, outer: int, inner: int, valid: torch.Tensor | None):
        """The divisor of a summed loss, at least 1; `valid` is the number of labels that are not ignored."""
        if mode == "VALID" and valid is not None:
            return valid.clamp(min=1)
        return max(1, {"FULL": outer * inner, "VALID": outer * inner, "BATCH_SIZE": outer, "NONE": 1,
                       "PRE_FIXED": self.param.loss_param.pre_fixed_normalizer}[mode])


def outer_and_inner(shape: tuple[int, ...], axis: int) -> tuple[int, int]:
    """The number of values before and after `axis`."""
    return math.prod(shape[:axis]), math.prod(shape[axis + 1:])


def check_like_prediction(layer: Layer, bottom) -> None:
    """Raise LayerError if a target or weights do not fit the prediction, bottom 0."""
    shape = bottom[0].shape
    for index, blob in enumerate(bottom[1:], 1):
        if blob.count != bottom[0].count or blob.shape[:1] != shape[:1]:
            layer.fail(f"expected bottom {index} of the prediction's shape {shape}, found {blob.shape}")
