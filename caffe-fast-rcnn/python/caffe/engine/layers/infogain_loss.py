"""InfogainLoss: softmax loss with a weight for each pair of label and class."""
from __future__ import annotations

import torch

from ...errors import WireError
from ...proto.binary import read_binaryproto
from ..bases.losses import LEAST_PROBABILITY, LossLayer, outer_and_inner
from ..layer import register


@register("InfogainLoss")
class InfogainLoss(LossLayer):
    """Softmax loss with a weight H[l, k] for each pair of label l and class k.

    loss = -sum over labels l, classes k of H[l, k] log max(softmax(bottom 0)[k], 1e-20) / normaliser

    bottoms  scores (N, ..., C, ...) with the classes at infogain_loss_param.axis (1); labels, one per position;
             optionally the matrix H, C * C values, otherwise read from infogain_loss_param.source (binaryproto)
    tops     loss (); optionally the probabilities
    param    loss_param, as in SoftmaxWithLoss, but without the old `normalize`

    Source: src/caffe/layers/infogain_loss_layer.cpp.
    """

    other_settings = ("loss_param",)
    exact_bottoms = exact_tops = None
    backward_reads_tops = False
    min_bottoms, max_bottoms = 2, 3
    min_tops, max_tops = 1, 2
    no_backward_to = (1, 2)

    def setup(self, bottom, top):
        source = self.param.infogain_loss_param.source
        if self.param.loss_param.HasField("normalize"):
            self.fail("takes loss_param.normalization, not its old form normalize")
        self.matrix = None
        if len(bottom) < 3:
            if not source:
                self.fail("expected the matrix H as bottom 2 or infogain_loss_param.source, found neither")
            self.matrix = self._read(source)

    def _read(self, path: str) -> torch.Tensor:
        try:
            return torch.from_numpy(read_binaryproto(path).reshape(-1))
        except WireError as error:
            self.fail(f"cannot read infogain_loss_param.source: {error}")

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        shape = bottom[0].shape
        self.along = self.axis(self.param.infogain_loss_param.axis, len(shape), "infogain_loss_param.axis")
        self.outer, self.inner = outer_and_inner(shape, self.along)
        found = bottom[2].count if self.matrix is None else self.matrix.numel()
        if found != shape[self.along] ** 2:
            self.fail(f"{shape[self.along]} classes need {shape[self.along] ** 2} values in H, found {found}")
        if bottom[1].count != self.outer * self.inner:
            self.fail(f"scores of shape {shape} with axis {self.along} need {self.outer * self.inner} labels, "
                      f"found {bottom[1].count} (shape {bottom[1].shape})")
        if len(top) > 1:
            top[1].reshape(*shape)

    def _weights(self, bottom) -> tuple[torch.Tensor, torch.Tensor | None]:
        """H[label] of each position as (outer, C, inner), 0 for ignored labels; and which labels are valid, or None."""
        scores, param = bottom[0].tensor, self.param.loss_param
        classes = scores.shape[self.along]
        matrix = (bottom[2].tensor if self.matrix is None else self.matrix.to(scores)).reshape(classes, classes)
        labels = self.labels(bottom[1], self.outer * self.inner)
        valid = labels != param.ignore_label if param.HasField("ignore_label") else None
        if valid is not None:
            labels = labels.where(valid, 0)
        self.check_labels(labels, classes)
        weights = matrix[labels]
        if valid is not None:
            weights = weights.where(valid[:, None], 0)
        return weights.reshape(self.outer, self.inner, classes).transpose(1, 2), valid

    def forward(self, bottom, top):
        scores = bottom[0].tensor
        self.prob = torch.softmax(scores.reshape(self.outer, scores.shape[self.along], self.inner), 1)
        weights, valid = self._weights(bottom)
        self.normaliser = self.divisor(self.normalization(), self.outer, self.inner,
                                       None if valid is None else valid.sum())
        top[0].tensor = -(weights * self.prob.clamp(min=LEAST_PROBABILITY).log()).sum() / self.normaliser
        if len(top) > 1:
            top[1].tensor = self.prob.reshape(scores.shape).clone()

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            weights = self._weights(bottom)[0]
            gradient = self.prob * weights.sum(1, keepdim=True) - weights
            bottom[0].grad = (gradient * (top[0].grad / self.normaliser)).reshape(bottom[0].shape)
