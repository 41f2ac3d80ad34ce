"""SoftmaxWithLossOHEM: SoftmaxWithLoss that also returns the loss of each label."""
from ..bases.softmax_loss import SoftmaxLossLayer
from ..layer import register


@register("SoftmaxWithLossOHEM")
class SoftmaxWithLossOHEM(SoftmaxLossLayer):
    """Softmax cross-entropy loss that also returns the loss of each label.

    loss = sum over labels of -log max(softmax(bottom 0)[label], FLT_MIN) / normaliser

    bottoms  scores (N, ..., C, ...) with the classes at softmax_param.axis (1); labels, one per position,
             0..C-1 or `ignore_label`
    tops     loss (); optionally the probabilities, shaped like the scores; optionally the loss of each label, shaped
             like the scores of one class and not normalised, 0 for ignored labels. Gradients of all tops are propagated
    param    loss_param, as in SoftmaxWithLoss

    Source: src/caffe/layers/softmax_loss_ohem_layer.cu of R-FCN, which shapes the losses like the labels and ignores
    the gradients of both further tops.
    """

    max_tops = 3
